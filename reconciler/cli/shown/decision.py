"""One decision in full, for people: what was asked, judged, shown to the policy, and done."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from reconciler.cli.shown.tables import write_record, write_table
from reconciler.domain.evidence.salted import MAPS, json_text
from reconciler.domain.text import TEXT_LIMIT, visible, visible_name
from reconciler.domain.times import from_millis, iso

# As `audit show` prints a decision before its checks.
_OF_THE_REQUEST = ("id", "fingerprint")
_OF_THE_DECISION = ("acts", "archive_existing", "daemon", "product_version", "engine")
# What a holder has of its own.
_IN_WORDS = {"shown": "version", "logged_model": "logged model"}
_FACTS = ("version", "run", "logged_model", "origin", "registered_model", "holder", "signature", "protection", "code")
_LISTS = frozenset({"datasets", "inputs", "outputs", "checks"})
_TIMES = frozenset({"end_time", "creation_timestamp"})
_LONGEST_LABEL = 24
_MOST_LINES = 3
_LONGEST_ESCAPE = 10


def show_decision(whole: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Prints it to stdout. `columns`: those of the register."""
    from reconciler.cli.shown.decision_lines import shown_verdict

    shown = {name: whole[name] for name in columns} | {"verdict": shown_verdict(whole)}
    shown |= {f"request_{name}": whole["request"].get(name) for name in _OF_THE_REQUEST}
    write_record(shown | {name: _word(whole[name]) for name in _OF_THE_DECISION}, sys.stdout)
    print("\nchecks")
    write_table(whole["checks"], ("result", "role", "check", "expected", "observed", "source"), sys.stdout)
    print("outcomes")
    if whole["outcomes"]:
        write_table(whole["outcomes"], ("at", "outcome", "detail"), sys.stdout)
    else:
        print("none yet: the decision is pending")
    _show_judged_again(whole)
    print("\nevidence")
    show_evidence(whole["evidence"], sys.stdout)
    for confirmation in whole["confirmations"]:
        print(f"\nevidence of the confirmation at {confirmation['at']}")
        show_evidence(confirmation["evidence"], sys.stdout)
    print("\npolicy")
    page = _Page(sys.stdout)
    for line in whole["policy"].splitlines():
        page.write("", line, 2)


def _word(value: Any) -> Any:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _show_judged_again(whole: Mapping[str, Any]) -> None:
    """What confirmed, followed and contradicted the decision; nothing where there was nothing."""
    if whole["earlier_outcomes"]:
        print("\noutcomes recorded before the last one, by an earlier release")
        write_table(whole["earlier_outcomes"], ("at", "outcome", "detail"), sys.stdout)
    if whole["confirmations"]:
        print("\nconfirmations: judged the same right before an act")
        write_table(whole["confirmations"], ("at", "verdict", "reason"), sys.stdout)
    if whole["late_effects"]:
        print("\ntook effect after it had ended")
        write_table(whole["late_effects"], ("at", "detail"), sys.stdout)
    if whole["replaces"]:
        print(f"\nreplaces decision {whole['replaces']}")
    if whole["replaced_by"]:
        print(f"\nreplaced by decision {whole['replaced_by']}")


# --- evidence ------------------------------------------------------------------------------------------------


def show_evidence(evidence: Mapping[str, Any] | None, stream: TextIO) -> None:
    """Every field of it, in lines as wide as the terminal (else 80)."""
    page = _Page(stream)
    if evidence is None:
        page.write("", "is missing or damaged: see `mlflow-reconciler audit verify`", 2)
        return
    page.write("read at", str(evidence.get("read_at", "")), 2)
    for key in sorted(evidence, key=lambda key: _FACTS.index(key) if key in _FACTS else len(_FACTS)):
        if isinstance(evidence[key], dict):
            _show_answer(page, key.replace("_", " "), evidence[key])
    if kept_out := [*evidence.get("excluded", ()), *evidence.get("excluded_names", ())]:
        page.write("kept out", ", ".join(kept_out), 2)


def _show_answer(page: _Page, title: str, answer: Mapping[str, Any]) -> None:
    if answer.get("answer") != "found":
        code = f" ({answer['code']})" if isinstance(answer.get("code"), str) else ""
        page.write(title, f"{_value(answer.get('detail', ''))}{code}", 2)
        return
    page.write(title, "", 2)
    of_another = {name: value for name, value in answer.items() if isinstance(value, dict) and "answer" in value}
    below = {name: value for name, value in answer.items() if name in MAPS or name in _LISTS}
    left_out = answer.get("left_out") or {}
    for name, value in answer.items():
        if name not in {*below, *of_another, "answer", "left_out"} and value not in (None, "", []):
            page.write(name.replace("_", " "), _moment(value) if name in _TIMES else _value(value), 4)
    if left_out == {"redacted": True}:
        page.write("left out", _value(left_out), 4)
        left_out = {}
    for name in sorted({*below, *left_out}):
        _show_group(page, name.replace("_", " "), below.get(name, {}), left_out.get(name))
    for name, value in of_another.items():
        _show_answer(page, f"{title}'s {_IN_WORDS.get(name, name)}", value)


def _show_group(page: _Page, name: str, values: Any, note: Any) -> None:
    """Tags, metrics, parameters or datasets, and how many there were beside those."""
    entries = list(_entries(values))
    if entries or note:
        page.write(name, "", 4)
    for label, text in entries:
        page.write(label, text, 6)
    if note:
        page.write("", f"and {note['count']:,} more, sha256:{note['sha256']}", 6)


def _entries(values: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(values, dict) or values == {"redacted": True}:
        # Datasets; or a group that was redacted as a whole.
        yield from (("", _value(value)) for value in (values if isinstance(values, list) else [values]))
        return
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            yield visible_name(name), _value(one)


def _value(value: Any) -> str:
    """What a field holds, in words; its text is not yet visible."""
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if not isinstance(value, dict):
        return "(empty)" if value == "" else str(value)
    if value == {"redacted": True}:
        return "(redacted)"
    if "head" in value:
        cut = f"… ({value['length']:,} characters, sha256:{value['sha256']})" if value["length"] > TEXT_LIMIT else ""
        return _value(value["head"]) + cut
    if "text" in value:
        return _reading(value)
    if "began_by" in value:
        return f"{value['why']}{f', first seen {since}' if (since := value['since']) else ''}"
    return _with_digest(value)


def _with_digest(value: Mapping[str, Any]) -> str:
    """A dataset, or the code of a check; of anything else its JSON."""
    if "distribution" in value:
        return f"{value['distribution']} {value['version']}, sha256 {value['sha256']}"
    if "digest" in value:
        used_for = f", {value['context']}" if value["context"] else ""
        return f"{value['name']} ({value['digest']}){used_for}"
    return json_text(value)


def _reading(value: Mapping[str, Any]) -> str:
    on = f", dataset {value['dataset_name']} ({value['dataset_digest']})" if value.get("dataset_name") else ""
    return f"{value['text']}, step {value['step']}, {_moment(value['timestamp'])}{on}"


def _moment(value: Any) -> str:
    moment = from_millis(value) if isinstance(value, int) else None
    return _value(value) if moment is None else iso(moment)


class _Page:
    """Lines of a label and a text, none wider than the terminal, whatever strangers wrote."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._stream = stream
        self._console = Console(file=stream)

    def write(self, label: str, text: str, indent: int) -> None:
        """A text that is long, or would be split behind its label, stands below it: ids are there to be copied."""
        from rich.cells import cell_len

        label, text = visible_name(label), visible(text, _LONGEST_ESCAPE * len(text) + 1)
        margin = indent + _LONGEST_LABEL + 1 if label else indent
        lines = self._wrapped(text, margin)
        is_split = max(map(cell_len, text.split()), default=0) > self._console.width - margin
        if label and (cell_len(label) > _LONGEST_LABEL or is_split or len(lines) > _MOST_LINES):
            self._put(self._wrapped(label, indent), indent)
            self._put(self._wrapped(text, indent + 2), indent + 2)
            return
        first, *rest = lines or [""]
        room = " " * (margin - indent - cell_len(label))
        self._stream.write(f"{' ' * indent}{label}{room}{first}".rstrip() + "\n")
        self._put(rest, margin)

    def _put(self, lines: Sequence[str], indent: int) -> None:
        self._stream.writelines(f"{' ' * indent}{line}\n" for line in lines)

    def _wrapped(self, text: str, margin: int) -> list[str]:
        from rich.text import Text

        width = max(self._console.width - margin, 20)
        return [line.plain.rstrip() for line in Text(text).wrap(self._console, width, overflow="fold")] if text else []
