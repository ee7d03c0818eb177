"""Makes the documents a site, in `build/site`: `make site`. A link that leads nowhere ends it, exit 1.

The pages are copied to `build/pages` as they lie here, README.md as the first, so that links need no change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES, SITE = ROOT / "build/pages", ROOT / "build/site"
BESIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE")
# What makes pages, and is none.
_LEFT_OUT = shutil.ignore_patterns("*.py", "__pycache__")


def stage() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES / "docs", ignore=_LEFT_OUT)
    for name in BESIDE:
        shutil.copy(ROOT / name, PAGES / name)


def build() -> tuple[int, str]:
    """The exit code, and what was said: each dead link with its page and line."""
    zensical = Path(sys.executable).with_name("zensical")
    command = [zensical, "build", "--clean", "--strict", "--config-file", ROOT / "zensical.toml"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    # Where a link is dead, it ends with a traceback, which tells nobody anything.
    return done.returncode, (done.stdout + done.stderr).partition("Traceback (most recent call last)")[0]


if __name__ == "__main__":
    stage()
    code, said = build()
    print(said.strip())
    print(f"see {SITE / 'index.html'}" if code == 0 else "mend the links that are named, then run `make site` again")
    sys.exit(code)
