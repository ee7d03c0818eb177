"""Fills a folder with this project's wheel and every wheel it needs, for a host without a package index.

`make wheelhouse` runs it. Arguments after the folder go to `pip download`, such as `--python-version 3.12`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements/dev.txt"
PROJECT = "mlflow-reconciler"


def main(folder: Path, more: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    pins = folder / "requirements.txt"
    pins.write_text("".join(_pins(needed(PROJECT))), encoding="utf-8")
    _run("pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
         "--no-deps", "-d", str(folder), "-r", str(pins), *more)  # fmt: skip
    _run("hatchling", "build", "-t", "wheel", "-d", str(folder))
    wheels = sorted(folder.glob("*.whl"))
    # Pin only what is in the folder: the installing host compares each file with its hash.
    pins.write_text("".join(_hashed(wheel) for wheel in wheels), encoding="utf-8")
    print(f"{folder}: {len(wheels)} wheels. Copy the folder to the host, then run there:")
    print(f"  pip install --no-index --find-links {folder.name} --require-hashes -r {folder.name}/requirements.txt")


def needed(project: str) -> set[str]:
    """Names of the project's dependencies and theirs, without extras that were not requested."""
    seen: set[str] = set()
    open_ends = [Requirement(project)]
    while open_ends:
        for inner in _requirements(open_ends.pop()):
            if str(inner) not in seen:
                seen.add(str(inner))
                open_ends.append(inner)
    return {canonicalize_name(Requirement(text).name) for text in seen}


def _requirements(project: Requirement) -> Iterator[Requirement]:
    for text in metadata.requires(project.name) or []:
        inner = Requirement(text)
        if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in {"", *project.extras}):
            yield Requirement(f"{inner.name}[{','.join(inner.extras)}]") if inner.extras else Requirement(inner.name)


def _pins(names: set[str]) -> Iterator[str]:
    """Their entries in the file of pins, hashes included."""
    for entry in re.split(r"^(?=[a-z0-9])", PINS.read_text(encoding="utf-8"), flags=re.MULTILINE):
        found = re.match(r"[A-Za-z0-9._-]+", entry)
        if found and canonicalize_name(found.group()) in names:
            yield entry


def _hashed(wheel: Path) -> str:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
