"""Bash breaks what is typed at `=` and `@`: `--target=@ch` reaches what completes it as `--target`, `=@` and `ch`."""

from __future__ import annotations

import os
from collections.abc import Sequence


def join_what_bash_broke() -> None:
    """Where bash asks for words to offer, as typer asks by these variables, the words are those that were typed."""
    if os.environ.get("_MLFLOW_RECONCILER_COMPLETE") != "complete_bash":
        return
    broken, at = os.environ.get("COMP_WORDS", "").split("\n"), os.environ.get("COMP_CWORD", "")
    if at.isdigit():
        words = _whole(broken[: int(at) + 1])
        os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}


def _whole(broken: Sequence[str]) -> list[str]:
    """The words as they were typed; the value of an option stands behind it, without the `=`."""
    words: list[str] = []
    for number, word in enumerate(broken, 1):
        if words and words[-1] == "@":
            words[-1] += word
        elif word.startswith("=") and not word.strip("=@") and words and words[-1].startswith("--"):
            # An `=` that is the last word is known to typer.
            words += [word] if word == "=" and number == len(broken) else filter(None, [word[1:]])
        else:
            words.append(word)
    return words
