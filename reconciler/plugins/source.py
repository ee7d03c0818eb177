"""A package's code, read once: its digest, and an import that runs exactly the bytes that were digested.

Python runs a compiled file instead of a source that has its time and size, and an editable install has its source
elsewhere than in the files that the package's RECORD lists. So neither is asked: the package is looked for as an
import looks for it, all its files are read, and its modules are compiled from what was read.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_MOST_FILES = 5_000
_MOST_BYTES = 64 * 1024 * 1024


class CannotVouch(Exception):
    """Nobody could say which code runs; the message says why."""


class Package:
    """The files of the first regular package, or the module, on the way to a module.

    Attributes:
        name: `acme.checks` of `acme.checks.latency`, where `acme` is a namespace.
        sha256: hex; over what `sha256sum` prints of the files in the order of their names, as bytes.
    """

    def __init__(self, module: str) -> None:
        """Reads the files; runs none of them. Raises CannotVouch."""
        self.name, spec = _first_regular(module)
        if self.name in sys.modules:
            raise CannotVouch(f"{self.name} was imported before its code could be read: give the package another name")
        origin = _source_of(self.name, spec)
        is_package = spec.submodule_search_locations is not None
        self._above = (origin.parent.parent if is_package else origin.parent).absolute()
        paths = sorted(_files_below(origin.parent) if is_package else [origin], key=lambda path: os.fsencode(path))
        self._files = dict(self._read(paths))
        lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in self._files.items())
        self.sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()

    def _read(self, paths: Sequence[Path]) -> Iterable[tuple[str, bytes]]:
        room = _MOST_BYTES
        for path in paths:
            data = path.read_bytes()
            room -= len(data)
            if room < 0:
                raise CannotVouch(f"{self.name} has more than {_MOST_BYTES // 1024**2} MiB of files")
            name = path.absolute().relative_to(self._above).as_posix()
            if "\n" in name or "\\" in name or not name.isprintable():
                raise CannotVouch(f"{self.name} has a file with the name {name!r}")
            yield name, data

    def has(self, module: str) -> bool:
        """Whether this module is one of the package's, by its name."""
        return f"{module}.".startswith(f"{self.name}.")

    def import_it(self) -> None:
        """From now on its modules are what was read."""
        sys.meta_path.insert(0, _Finder(self))

    def source(self, path: str) -> bytes:
        """Raises ImportError where the file was not there when the code was read."""
        try:
            return self._files[Path(path).absolute().relative_to(self._above).as_posix()]
        except (KeyError, ValueError):
            raise ImportError(f"{path} was not there when the code of {self.name} was read") from None


def _first_regular(module: str) -> tuple[str, ModuleSpec]:
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        spec = find_spec(name)
        if spec is None:
            raise CannotVouch(f"there is no module {name}")
        if spec.origin is not None:
            return name, spec
    raise CannotVouch(f"{module} is a namespace, and no module")


def _source_of(name: str, spec: ModuleSpec) -> Path:
    if spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
        raise CannotVouch(f"{name} is not Python source ({spec.origin})")
    return Path(spec.origin)


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for above, folders, files in os.walk(folder):
        if links := [name for name in folders if os.path.islink(os.path.join(above, name))]:
            raise CannotVouch(f"{os.path.join(above, links[0])} is a link to a folder")
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [Path(above, name) for name in files if not name.endswith(".pyc")]
        if len(found) > _MOST_FILES:
            raise CannotVouch(f"{folder} has more than {_MOST_FILES:,} files")
    return found


class _Finder(MetaPathFinder):
    """Comes before all others, for the modules of one package."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._package.name and not fullname.startswith(f"{self._package.name}."):
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        # A folder without a module of its own runs no code.
        if spec is None or spec.origin is None:
            return spec
        if not isinstance(spec.loader, SourceFileLoader):
            raise ImportError(f"{fullname} is not Python source ({spec.origin}): write the check in Python")
        spec.loader = _Loader(fullname, spec.origin, self._package)
        spec.cached = None
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, package: Package) -> None:
        super().__init__(fullname, path)
        self._package = package

    def get_data(self, path: Any) -> bytes:
        return self._package.source(os.fspath(path))

    def get_code(self, fullname: str) -> Any:
        """Never from a compiled file."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)
