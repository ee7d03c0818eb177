"""Pages whose sections are made by different measurements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def replace_top(page: Path, top: str) -> None:
    """Writes anew what stands before the page's first section."""
    first = re.search(r"^## ", text := page.read_text(), re.MULTILINE)
    page.write_text(top.rstrip() + "\n" + (f"\n{text[first.start() :]}" if first else ""))


def replace_section(page: Path, heading: str, lines: Sequence[str]) -> None:
    """Writes a section of a page anew, or adds it at the end. A section begins with `## ` and its heading."""
    text = page.read_text()
    section = "\n".join([f"## {heading}", "", *lines]).rstrip() + "\n"
    found = re.search(rf"^## {re.escape(heading)}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        page.write_text(text.rstrip() + "\n\n" + section)
    else:
        rest = text[found.end() :]
        page.write_text(text[: found.start()] + section + ("\n" + rest if rest else ""))
