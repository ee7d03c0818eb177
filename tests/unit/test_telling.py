"""What is said of a decision: what and why first, ids last; and how often of a cycle in which nothing happens."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cycle import CycleSummary
from reconciler.daemon.schedule import CycleLog
from reconciler.domain.decision import (
    TAG_BYTES,
    Decision,
    Effect,
    Mode,
    OutcomeKind,
    decision_id_in,
    effect_of,
    left_undone,
)
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import command_line, counted, visible
from reconciler.domain.told import decision_ids_in, keeping_ids, told_with_earlier
from reconciler.domain.verdict import CheckResult, Result, Verdict, VerdictKind
from reconciler.ports import Stuck

ID = "6f1c09ab-1111-2222-3333-444455556666"
OTHER = "00000000-1111-2222-3333-444455556666"
AT = datetime(2026, 11, 24, 9, 28, 30, 123000, UTC)
REQUEST = Request(
    "http://r", "", "fraud", "7", Target.parse("Production"), Requester("ada", Assurance.ASSERTED), AT, "", "r", "f"
)
GOOD = CheckResult("accuracy", "metric validation_accuracy", Result.PASSED, "ok", "at least 0.9", "0.94", 0.94)
BAD = replace(GOOD, result=Result.FAILED, code="below_min", observed="0.85", observed_number=0.85)


def decision(kind: VerdictKind, *checks: CheckResult, request: Request = REQUEST) -> Decision:
    verdict = Verdict(kind, "code", checks, ("accuracy",))
    return Decision(ID, AT, request, kind, verdict.reason, Mode.ENFORCE, "ab" * 32, "accuracy", False)


def test_an_approval_says_the_bound_it_met() -> None:
    assert decision(VerdictKind.APPROVE, GOOD).sentence() == (
        "Approved fraud version 7 for Production: validation_accuracy 0.94, at least 0.9 required."
        " Decided 2026-11-24T09:28:30.123Z, requested by ada"
        f" (decision {ID}, policy abababababab)"
    )


def test_a_rejection_says_what_and_why_then_the_exact_command_then_ids() -> None:
    assert decision(VerdictKind.REJECT, BAD).sentence() == (
        "Rejected fraud version 7 for Production: validation_accuracy 0.85, at least 0.9 required (accuracy)."
        " Fix the failed checks, then request the transition again:"
        " mlflow-reconciler request create fraud 7 Production."
        " Decided 2026-11-24T09:28:30.123Z, requested by ada"
        f" (decision {ID}, policy abababababab)"
    )


def test_a_command_can_be_pasted_whatever_the_models_name() -> None:
    assert command_line("explain", "it's; rm -rf", "7", "@champion") == (
        """mlflow-reconciler explain 'it'"'"'s; rm -rf' 7 @champion"""
    )
    assert command_line("explain", "-rf", "7", "Production") == "mlflow-reconciler explain -- -rf 7 Production"


@pytest.mark.parametrize(
    "name",
    ["new\nline", "a\tb\r", "evil\u202eexe", "\x1b[31mred\x7f", "back\\slash'quote\n", "\u200bzero \U000e0041 ünïcode",
     "\\n", "-\n"],
)  # fmt: skip
def test_a_command_that_is_pasted_into_bash_names_the_same_model(name: str) -> None:
    request = replace(REQUEST, model=name)
    command = command_line("explain", name, "7", "@champion")
    shown = decision(VerdictKind.REJECT, BAD, request=request).sentence()
    assert command == visible(command)
    assert command_line("request create", name, "7", "Production") + "." in shown
    assert decision_id_in(shown) == ID
    printed = f"mlflow-reconciler() {{ printf '%s\\0' \"$@\"; }}; {command}"
    done = subprocess.run(["bash", "-c", printed], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
    assert [word for word in done.stdout.decode().split("\0") if word != "--"] == [
        "explain",
        name,
        "7",
        "@champion",
        "",
    ]


def test_the_command_for_the_longest_name_leaves_room_for_the_ids() -> None:
    told = decision(VerdictKind.REJECT, BAD, request=replace(REQUEST, model="\U000e0041" * 256)).sentence()
    assert len(told.encode()) <= TAG_BYTES
    assert decision_id_in(told) == ID


FIRST_RELEASE = (
    f"Rejected 2026-11-24T09:28:30.123Z (decision {ID}, policy abababababab), as ada asked: 1 of 1 checks failed: "
    f"tag note: '(decision {OTHER}, policy abababababab)'; required: 'ok' (r). Mend what is named, then ask again."
)


@pytest.mark.parametrize(
    "text",
    [
        decision(VerdictKind.APPROVE, GOOD).sentence(),
        decision(VerdictKind.REJECT, BAD).sentence(),
        # The app notes who decided behind the sentence.
        decision(VerdictKind.REJECT, BAD).sentence() + " (By svc.)",
        FIRST_RELEASE,
        FIRST_RELEASE + " (By svc.)",
    ],
)
def test_the_tags_of_this_and_of_the_first_release_name_their_decision(text: str) -> None:
    assert decision_id_in(text) == ID


@pytest.mark.parametrize(
    "hostile",
    [f"(decision {OTHER}, policy abababababab)", f"(decision {OTHER}, policy abababababab) (By x.)",
     f"Approved 2026-11-24T09:28:30.123Z (decision {OTHER}, policy abababababab)"],
)  # fmt: skip
def test_text_of_strangers_names_no_decision(hostile: str) -> None:
    told = decision(VerdictKind.REJECT, replace(BAD, observed=hostile, observed_number=None))
    assert decision_id_in(told.sentence()) == ID
    named_so = decision(VerdictKind.APPROVE, GOOD, request=replace(REQUEST, model=hostile))
    assert decision_id_in(named_so.sentence()) == ID
    assert decision_id_in(f"a person wrote {hostile}, and more") is None


def test_a_long_reason_is_cut_and_the_ids_are_not() -> None:
    told = decision(VerdictKind.REJECT, replace(BAD, observed="why " * 2000, observed_number=None))
    for limit in (4_900, 1_000):
        sentence = told.sentence(limit)
        assert len(sentence.encode()) <= limit
        assert "[…]" in sentence
        assert decision_id_in(sentence) == ID


@pytest.mark.parametrize(
    ("verdict", "outcome", "effect"),
    [
        (VerdictKind.APPROVE, OutcomeKind.APPLIED, Effect.MOVED),
        (VerdictKind.REJECT, OutcomeKind.APPLIED, Effect.REFUSED),
        (VerdictKind.APPROVE, OutcomeKind.OBSERVED, Effect.NOTHING),
        (VerdictKind.APPROVE, OutcomeKind.SUPERSEDED, Effect.NOTHING),
        (VerdictKind.APPROVE, OutcomeKind.UNATTRIBUTED, None),
        (VerdictKind.REJECT, OutcomeKind.FAILED, None),
    ],
)
def test_an_effect_is_told_only_where_it_is_known(
    verdict: VerdictKind, outcome: OutcomeKind, effect: Effect | None
) -> None:
    assert effect_of(verdict, outcome) is effect


def test_one_is_singular() -> None:
    assert [counted(n, "rule") for n in (0, 1, 2)] == ["0 rules", "1 rule", "2 rules"]
    assert counted(2, "query", "queries") == "2 queries"


def test_idle_cycles_are_debug_with_one_line_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    log = CycleLog(lambda: clock[0])
    caplog.set_level(logging.DEBUG, "reconciler")
    for _ in range(121):
        log.tell(CycleSummary(Mode.ENFORCE, duration=timedelta(milliseconds=clock[0] % 7)))
        clock[0] += 60
    at_info = [record for record in caplog.records if record.levelno == logging.INFO]
    assert (len(caplog.records), len(at_info)) == (121, 3)


def test_whatever_changes_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    log = CycleLog(lambda: 0.0)
    caplog.set_level(logging.INFO, "reconciler")
    told = [
        CycleSummary(Mode.ENFORCE),
        CycleSummary(Mode.ENFORCE, open=1),
        CycleSummary(Mode.ENFORCE, open=1, unavailable="GET /x: connection refused"),
        CycleSummary(Mode.ENFORCE, open=1),
        CycleSummary(Mode.ENFORCE, open=1, in_error=1),
        CycleSummary(Mode.ENFORCE, open=1, in_error=1),
        CycleSummary(Mode.ENFORCE, open=1, paused="freeze"),
    ]
    for summary in told:
        log.tell(summary)
    assert len(caplog.records) == len(told)


@pytest.mark.parametrize(
    ("mode", "verdict", "is_set", "begins"),
    [
        (Mode.ENFORCE, VerdictKind.REJECT, True, ""),
        (Mode.APPROVE_ONLY, VerdictKind.APPROVE, True, ""),
        (Mode.APPROVE_ONLY, VerdictKind.REJECT, True, "the daemon only approves (mode approve-only): "),
        (Mode.OBSERVE, VerdictKind.APPROVE, True, "the daemon only observes (mode observe): nothing is moved; "),
        (Mode.OBSERVE, None, False, "the daemon's mode is not known here: if it only observes (mode observe), "),
    ],
)
def test_what_a_daemon_leaves_undone_is_told_by_its_mode(
    mode: Mode, verdict: VerdictKind | None, is_set: bool, begins: str
) -> None:
    told = left_undone(mode, verdict, is_set=is_set)
    assert told.startswith(begins)
    assert bool(told) is bool(begins)


@pytest.mark.parametrize(
    ("summary", "level"),
    [
        (CycleSummary(Mode.ENFORCE, in_error=1), logging.WARNING),
        (CycleSummary(Mode.ENFORCE, unavailable="connection refused"), logging.ERROR),
        (CycleSummary(Mode.ENFORCE, in_error=1, stuck=[Stuck("request", None, "r", "", "m", "1", "P", AT, 3, "403")]),
         logging.ERROR),
        (CycleSummary(Mode.ENFORCE, open=1), logging.INFO),
    ],
)  # fmt: skip
def test_a_cycle_that_failed_is_no_information(
    caplog: pytest.LogCaptureFixture, summary: CycleSummary, level: int
) -> None:
    caplog.set_level(logging.DEBUG, "reconciler")
    CycleLog(lambda: 0.0).tell(summary)
    assert [record.levelno for record in caplog.records] == [level]


def test_the_tag_keeps_the_ids_of_earlier_decisions_newest_first_and_repeating_changes_nothing() -> None:
    first = decision(VerdictKind.REJECT, BAD)
    second, third = replace(first, decision_id=OTHER), replace(first, decision_id=OTHER.replace("0", "1"))
    shown = ""
    for told in (first, second, third, third):
        shown = told_with_earlier(told, shown)
    assert decision_ids_in(shown) == (third.decision_id, OTHER, ID)
    by_hand = keeping_ids("Moved by root, without a request", shown, TAG_BYTES)
    assert decision_ids_in(by_hand) == (third.decision_id, OTHER, ID)


def test_as_many_earlier_ids_are_kept_as_fit_and_some_beside_the_longest_reason() -> None:
    ids = [f"{number:08x}-1111-2222-3333-444455556666" for number in range(300)]
    for observed, least in (("0.85", 100), ("why " * 2000, 16)):
        bad = decision(VerdictKind.REJECT, replace(BAD, observed=observed, observed_number=None))
        shown = ""
        for id in ids:
            shown = told_with_earlier(replace(bad, decision_id=id), shown)
            assert len(shown.encode()) <= TAG_BYTES
        kept = decision_ids_in(shown)
        assert list(kept) == ids[::-1][: len(kept)]
        assert len(kept) > least


def test_what_a_stranger_wrote_into_a_reason_is_no_earlier_decision() -> None:
    hostile = f"x (earlier decisions: {OTHER})"
    told = decision(VerdictKind.REJECT, replace(BAD, observed=hostile, observed_number=None))
    assert decision_ids_in(told_with_earlier(told, "")) == (ID,)
