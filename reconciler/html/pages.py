"""Pages from templates: each in one file, with nothing that a browser would fetch or a stranger could run."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reconciler.audit.reporting import Answer, Matter, Reading
from reconciler.audit.reports.completeness import COUNTED
from reconciler.domain.text import visible, visible_name
from reconciler.html import figures
from reconciler.html.tables import Links, Rest, day_text, length_text, moment_text, section_grid

_TEMPLATES: Final = Path(__file__).parent / "templates"
# A page of a report has so many rows of each list; the others are in files beside it, or asked for as CSV.
ROWS: Final = 500
# Of a shorter period two dates would not say which hours it has.
_TOLD_IN_DAYS: Final = timedelta(days=2)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": moment_text, "day": day_text, "visible": lambda text: visible(str(text))}
    environment.filters |= {"capital": _capital, "sentence": lambda text: f"{_capital(text)}.", "coded": _coded}
    environment.filters["drawn"] = lambda drawing: Markup(drawing.svg)  # noqa: S704  its texts are escaped
    style, script = (_inline(name) for name in ("report.css", "report.js"))
    environment.globals |= {"style": style, "script": script, "policy": _policy(style, script)}
    return environment


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _coded(text: str) -> Markup:
    """What stands between backticks as code."""
    parts = (escape(part) for part in text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )


def _inline(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  files of ours


def _policy(style: str, script: str) -> str:
    """The content security policy: our style and our script, by their hashes, and nothing else."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    allowed = " ".join(
        f"{what} 'sha256-{hash}';" for what, hash in zip(("style-src", "script-src"), hashes, strict=True)
    )
    return f"default-src 'none'; {allowed} img-src data:; base-uri 'none'; form-action 'none'"


def page(template: str, **values: Any) -> str:
    text: str = _environment().get_template(template).render(**values)
    return text


def report_page(matter: Matter, answer: Answer, reading: Reading, links: Links, rest: Rest, **more: Any) -> str:
    """A report by itself, with the charts that belong to it.

    Args:
        more: `unknown`, what `not_on_record` says; `home`, the front page, where there is one.
    """
    makers = figures.OF_REPORTS.get(matter.report, ())
    return page(
        "report.html",
        matter=matter,
        only=only_of(matter),
        period=period_of(matter),
        answer=answer,
        counts=list(told_counts(answer.counts)),
        figures=[make(reading, links) for make in makers],
        grids=[section_grid(section, ROWS, links, rest) for section in answer.sections],
        **{"home": "", **more},
    )


_COUNTS: Final = {"perhaps": "perhaps outside the period", "seconds": "states of the daemons", "open": "open requests"}


def told_counts(counts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each count in words."""
    for name, count in counts.items():
        title = _COUNTS.get(name, name.replace("_", " "))
        if isinstance(count, Mapping):
            parts = [_told_count(name, what, many) for what, many in count.items() if many]
            yield title, ", ".join(parts) or "none"
        else:
            yield title, f"{count:,}" if isinstance(count, int) else str(count)


def _told_count(name: str, what: str, many: int) -> str:
    if name == "seconds":
        return f"{length_text(many)} {_short(what)}"
    words = COUNTED.get(what) if name == "by_cause" else None
    return f"{many:,} {words[many != 1] if words else _short(what)}"


def _short(what: object) -> str:
    text = visible(str(what))
    return (text[:12] if len(text) == 64 else text).replace("_", " ")


def only_of(matter: Matter) -> str:
    """To which models and target the page is narrowed; "" where it is about all."""
    asked = {"models": matter.model, "the target": matter.target}
    named = [f"{what} {visible_name(name)}" for what, name in asked.items() if name is not None]
    return f"only {' and '.join(named)}" if named else ""


def period_of(matter: Matter) -> str:
    if matter.until is None:
        return f"as of {moment_text(matter.at)} UTC"
    if matter.since is not None and matter.until - matter.since < _TOLD_IN_DAYS:
        return f"{moment_text(matter.since)} to {moment_text(matter.until)} UTC"
    return f"{day_text(matter.since)} to {day_text(matter.until)}"
