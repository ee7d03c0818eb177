"""audit report --html and --format html."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exits import say
from reconciler.domain.text import counted

if TYPE_CHECKING:
    from reconciler.audit.reporting import Reading, Report
    from reconciler.settings.model import Settings


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
    from reconciler.cli.shown.rendering import write_section
    from reconciler.cli.shown.terminal import progress_bar
    from reconciler.cli.written.folders import Kind, put_folder
    from reconciler.html.folder import FORMAT, MANIFEST, Folder

    with put_folder(place, Kind(MANIFEST, FORMAT)) as partial, progress_bar("writing pages") as progress:
        made = Folder(partial, reading, own_heads(), write_section).write(progress)
    what = f"{counted(made.models, 'model')}, {counted(made.decisions, 'decision')}, {made.bytes / 1e6:.1f} MB"
    say(f"wrote {place / 'index.html'}, with {counted(made.pages - 1, 'more page')}: {what}")


def pages_of_everything(settings: Settings, place: Path) -> str:
    """Writes every report of all that is on record, and says where; or what is missing for that."""
    from reconciler.audit.reporting import Asked, Reading
    from reconciler.bootstrap.audit_reader import audit_snapshot
    from reconciler.html.libraries import CannotDraw, LibraryMissing

    try:
        require_libraries()
    except (CannotDraw, LibraryMissing) as error:
        return f"not written: {error}"
    with audit_snapshot(settings) as connection:
        write_folder(Reading(connection, Asked(), settings.plugins.named()), place)
    return str(place / "index.html")
