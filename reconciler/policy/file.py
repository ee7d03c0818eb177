"""Reading a policy: every mistake of all its files at once, each with its line and column."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.domain.policy import Policy
from reconciler.policy.across import problems_across
from reconciler.policy.bundle import Damaged, bundled, parts_of
from reconciler.policy.doubts import doubts_about
from reconciler.policy.including import Files
from reconciler.policy.problems import PolicyError, Problem
from reconciler.policy.sources import MAX_BYTES, Folder, Kept, Source

__all__ = ["LoadedPolicy", "PolicyError", "Problem", "parse_policy", "read_policy"]


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """`text` holds all files, and `digest` is the SHA-256 (hex) of its UTF-8 bytes. `includes`: paths of the others."""

    policy: Policy
    text: str
    digest: str
    warnings: tuple[Problem, ...]
    includes: tuple[str, ...] = ()


def read_policy(path: Path, kinds: Kinds = KINDS) -> LoadedPolicy:
    """Read a policy file, and what it includes.

    Raises:
        PolicyError: one of them cannot be read, or is not a policy; with every problem of all.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError(str(path), [Problem(None, None, "", f"cannot read the file: {error.strerror}")]) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"the file is not UTF-8: invalid byte at offset {error.start}"
        raise PolicyError(str(path), [Problem(None, None, "", message)]) from None
    return _loaded(text, str(path), kinds, Folder(path))


def parse_policy(text: str, name: str, kinds: Kinds = KINDS, *, stored: bool = False) -> LoadedPolicy:
    """Parse the text of a policy, which holds all its files.

    Args:
        name: with which the lines of an error begin.
        kinds: the checks that a rule may require.
        stored: it was in force once: what a later release refuses between rules is no mistake of it.

    Raises:
        PolicyError: with every problem.
    """
    return _loaded(text, name, kinds, None, stored=stored)


def _loaded(text: str, name: str, kinds: Kinds, folder: Folder | None, *, stored: bool = False) -> LoadedPolicy:
    if len(text) > MAX_BYTES:
        raise PolicyError(name, [Problem(None, None, "", "the file is larger than 4 MiB")])
    try:
        (_, first), *others = parts_of(text)
    except Damaged as error:
        raise PolicyError(name, [Problem(None, None, "", str(error))]) from None
    source: Source = Kept(name, dict(others)) if folder is None or others else folder
    files = Files(name, source, kinds, stored=stored)
    files.read(first)
    includes = tuple(folder.paths) if folder is not None and not others else ()
    files.refuse_what_is_left_over(label for label, _ in others)
    across = problems_across(files.files, complete=not files.unread)
    problems = [*files.problems, *([] if stored else across)]
    if problems:
        raise PolicyError(name, _in_order(problems, files.order), includes)
    policy = files.together()
    kept = bundled(files.parts)
    if len(kept) > MAX_BYTES:
        raise PolicyError(name, [Problem(None, None, "", "all files together are larger than 4 MiB")], includes)
    warnings = tuple(one for file in files.files for one in doubts_about(file, policy))
    return LoadedPolicy(policy, kept, hashlib.sha256(kept.encode()).hexdigest(), warnings, includes)


def _in_order(problems: list[Problem], order: Mapping[str, int]) -> list[Problem]:
    """As the files are named, and within each by place."""
    return sorted(problems, key=lambda one: (order.get(one.file, 0), one.line or 0, one.column or 0))
