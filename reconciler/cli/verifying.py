"""audit verify."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import FormatOption, NoHeadersOption
from reconciler.cli.shown.output import Format, Shape, rows_writer
from reconciler.cli.shown.terminal import progress_bar
from reconciler.domain.text import counted, visible_name

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from reconciler.audit.log.registry_witness import Compared
    from reconciler.audit.log.signing import PublicKey
    from reconciler.audit.log.verifying import Verified
    from reconciler.audit.log.witnesses import Witnesses
    from reconciler.cli.shown.output import RowWriter
    from reconciler.domain.proofs.checkpoint import Head
    from reconciler.settings.model import Settings

HeadOption = Annotated[
    Path | None,
    typer.Option("--head", help="A file of heads that was kept elsewhere, or the journal lines that hold them."),
]
_KEY = "Public key of the heads' signatures: a PEM file, or NAME+ID+BASE64."
_SINCE = "A head that was verified before: only rows added after it are read."
_REGISTRY = "Also compare the decisions with what the registry shows. Needs the daemon's access to the registry."
_COLUMNS = ("difference",)
_EPOCH = "Accept the differences that restores up to this epoch explain."


def verify(
    head: HeadOption = None,
    registry: Annotated[bool, typer.Option("--registry", help=_REGISTRY)] = False,
    key: Annotated[str | None, typer.Option("--key", metavar="<key>", help=_KEY)] = None,
    since: Annotated[Path | None, typer.Option("--since", help=_SINCE)] = None,
    accept_epoch: Annotated[int, typer.Option("--accept-epoch", metavar="<n>", min=1, help=_EPOCH)] = 1,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Recompute the log from the rows of history; exit 1 and name every row that was changed, removed or added.

    Without a head kept elsewhere, it cannot detect that the whole database was rebuilt.
    """
    from reconciler.audit import schema
    from reconciler.audit.database import Access
    from reconciler.audit.log import verifying

    pinned = _pinned(key, head or since)
    witnesses, verified_before = _heads_of(head, pinned), _heads_of(since, pinned)
    asked = verifying.Asked(witnesses.heads, next(reversed(verified_before.heads), None), accept_epoch)
    configured = settings()
    url = configured.audit.url.get_secret_value()
    with schema.opened_at_head(url, Access.READ) as engine, progress_bar("verifying") as progress:
        found = verifying.verify(engine, progress, asked)
        compared = _compared(configured, engine) if registry else None
        told = [*witnesses.differences, *verified_before.differences, *found.differences]
        told += compared.differences if compared is not None else []
    for left_out in witnesses.left_out:
        say(left_out)
    writer = rows_writer(Shape(format, not no_headers), _COLUMNS, _COLUMNS, sys.stdout)
    wrong = f"{schema.shown_url(url)} is not as it was recorded: {_counted_differences(told)}"
    if writer is None and not told:
        _tell_intact(found, witnesses.heads, pinned)
        _tell_registry(compared)
    elif writer is None:
        _tell_different(told, wrong)
    else:
        _write(writer, told, _facts(found, compared, intact=not told), wrong if told else _intact(found))
    return NEGATIVE if told else DONE


def _tell_different(told: Sequence[str], wrong: str) -> None:
    """That nobody reads the differences to their end does not make the database intact."""
    with contextlib.suppress(BrokenPipeError):
        print("\n".join(told), flush=True)
    say(wrong)


def _write(writer: RowWriter, told: Sequence[str], facts: dict[str, Any], sentence: str) -> None:
    with contextlib.suppress(BrokenPipeError) if told else contextlib.nullcontext():
        writer.write_parts([[told]] if told else [])
        writer.end_with(facts, sentence)


def _facts(found: Verified, compared: Compared | None, *, intact: bool) -> dict[str, Any]:
    """What stands beside the differences; of the registry null, where it was not asked."""
    return {
        "intact": intact,
        "entries": found.size,
        "root": _root(found),
        "verified_from": found.first,
        "redacted_fields": found.redacted,
        "epochs": [str(epoch) for epoch in found.epochs],
        "agreeing_heads": found.agreeing,
        "registry_agreeing": len(compared.agreeing) if compared is not None else None,
        "registry_unnamed": len(compared.unnamed) if compared is not None else None,
        "registry_unshown": compared.unshown if compared is not None else None,
    }


def _compared(configured: Settings, engine: Engine) -> Compared:
    from reconciler.bootstrap.witnessing import compare_with_registry

    return compare_with_registry(configured, engine)


def _tell_registry(compared: Compared | None) -> None:
    if compared is None:
        return
    print(f"the registry names the same entries of the log for {counted(len(compared.agreeing), 'decision')}")
    if compared.unnamed:
        named = counted(len(compared.unnamed), "decision is named", "decisions are named")
        say(f"{named} by id only, as a tag's earlier decisions and those of release 0.1.0 are: the database has each")
    if compared.unshown:
        applied = f"nothing in the registry names {counted(compared.unshown, 'applied decision')} of the database"
        say(f"{applied}: the versions were deleted, or the decisions are older than the newest one that it names")


def _pinned(key: str | None, heads: Path | None) -> PublicKey | None:
    if key is None:
        return None
    from reconciler.audit.log.signing import PublicKey
    from reconciler.settings.errors import SettingsError

    path = Path(key)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else key
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError([f"--key: {visible_name(key)}: cannot be read: {reason}"]) from None
    pinned = PublicKey.of(text)
    if heads is None:
        raise typer.BadParameter("checks the signatures of heads: name a file of them with --head", param_hint="--key")
    return pinned


def _heads_of(path: Path | None, pinned: PublicKey | None) -> Witnesses:
    from reconciler.audit.log.witnesses import Witnesses, trusted

    if path is None:
        return Witnesses(())
    from reconciler.audit.log.head_files import read

    heads = read(path)
    if heads.torn:
        say(f"{path}: skipped {counted(heads.torn, 'part')} of it: not a head, but cut off by a full disk, or damaged")
    return trusted(heads.heads, pinned)


def _intact(found: Verified) -> str:
    redacted = f", {counted(found.redacted, 'field')} redacted" if found.redacted else ""
    size = counted(found.size, "entry", "entries")
    read = f" (those before entry {found.first} were verified before, and their rows not read again)"
    return f"intact: {size}{read if found.first else ''}{redacted}, root {_root(found)}"


def _root(found: Verified) -> str:
    """As heads and reports have it, to be compared by eye."""
    return base64.b64encode(bytes.fromhex(found.root)).decode()


def _tell_intact(found: Verified, heads: Sequence[Head], pinned: PublicKey | None) -> None:
    print(_intact(found))
    for epoch in found.epochs:
        print(epoch)
    if heads:
        latest = max(head.size for head in heads)
        agree = f"{counted(found.agreeing, 'head agrees', 'heads agree')}, the latest over {latest} of these entries"
        print(f"{agree}; {_trust(heads, pinned)}")


def _trust(heads: Sequence[Head], pinned: PublicKey | None) -> str:
    if pinned is not None:
        return "signed by the key that you named"
    signed = heads[-1].signatures
    if not signed:
        return "not signed: they prove as much as the place where they were kept"
    by = f"{visible_name(signed[0].name)}+{signed[0].key_id.hex()}"
    return f"trust on first use: the key {by} was not pinned (--key), and no signature was checked"


def _counted_differences(differences: Sequence[str]) -> str:
    from reconciler.audit.log.recomputing import MOST_TOLD

    all_told = counted(len(differences), "difference")
    return f"{all_told}, and there may be more" if len(differences) >= MOST_TOLD else all_told
