"""audit report --html and --format html."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exits import say
from reconciler.domain.text import counted

if TYPE_CHECKING:
    from reconciler.audit.reporting import Reading, Report


def require_libraries() -> None:
    """Raises: LibraryMissing."""
    from reconciler.html.libraries import require

    require()


def page_of(report: Report, reading: Reading) -> str:
    from reconciler.html.folder import single_page

    return single_page(report, reading)


def write_folder(reading: Reading, place: Path) -> None:
    """Every report, as pages, into a folder of theirs."""
    from reconciler.cli.dossiers import own_heads
    from reconciler.cli.folders import put_folder
    from reconciler.cli.rendering import write_section
    from reconciler.cli.terminal import progress_bar
    from reconciler.html.folder import FORMAT, MANIFEST, Folder

    with put_folder(place, MANIFEST, FORMAT) as partial, progress_bar("writing pages") as progress:
        made = Folder(partial, reading, own_heads(), write_section).write(progress)
    what = f"{counted(made.models, 'model')}, {counted(made.decisions, 'decision')}, {made.bytes / 1e6:.1f} MB"
    say(f"wrote {place / 'index.html'}, with {counted(made.pages - 1, 'more page')}: {what}")
