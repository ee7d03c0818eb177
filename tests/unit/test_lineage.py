"""What proves that a run made a version, and what only claims it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    LoggedModelFacts,
    OriginFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.lineage import lies_under
from reconciler.domain.text import Text
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.judging import judge_again
from reconciler.policy.file import parse_policy
from tests.builders import NO_LOGGED_MODEL, a_request

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ASKED = a_request("fraud", NOW)
METRIC, LINKED = "{metric: validation_accuracy, min: 0.9}", "{run: {linked: true}}"
GOOD = {"validation_accuracy": Reading("0.95", 0.95, 0, 0)}
MODEL = LoggedModelFacts("m-1", "r1", "READY", {}, "7")


def run(
    outputs: tuple[str, ...] | None = ("m-1",), experiment: str = "7", root: str = "s3://b/r1/artifacts"
) -> RunFacts:
    return RunFacts("r1", "FINISHED", "active", 1, root, GOOD, experiment, outputs)


def judged(check: str, engine: int = 2, source: str = "models:/m-1", **answers: object) -> Verdict:
    version = VersionFacts("r1", source, "READY", "None", Text.of(""))
    facts = {VersionFacts: version, RunFacts: answers.get("run", run()), LoggedModelFacts: answers.get("model", MODEL)}
    if "origin" in answers:
        facts[OriginFacts] = answers["origin"]
    shown = Evidence.from_json(Evidence.of(NOW, facts).to_json())  # type: ignore[arg-type]
    text = f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n      - {check}\n"
    return judge_again(engine, parse_policy(text, "p").policy, ASKED, shown)


def code(check: str, engine: int = 2, source: str = "models:/m-1", **answers: object) -> str:
    return judged(check, engine, source, **answers).checks[0].code


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (run(), "ok"),
        (run(outputs=()), "link_unproven"),
        (run(outputs=("m-2",)), "link_unproven"),
        (run(outputs=("m-1", "m-2")), "link_unproven"),
        (run(experiment="8"), "link_unproven"),
    ],
    ids=["its only output", "no output", "another output", "several outputs", "another experiment"],
)
def test_a_logged_model_is_the_runs_if_the_run_says_so(shown: RunFacts, expected: str) -> None:
    assert code(LINKED, run=shown) == expected


@pytest.mark.parametrize("shown", [run(outputs=None), run(experiment="")], ids=["outputs", "experiment"])
def test_what_a_registry_does_not_show_neither_proves_nor_refutes(shown: RunFacts) -> None:
    verdict = judged(LINKED, run=shown)
    assert (verdict.kind, verdict.reason_code, verdict.checks[0].code) == (
        VerdictKind.ABSTAIN, "undetermined", "undetermined",
    )  # fmt: skip


def test_where_the_registry_does_not_show_the_runs_place_files_prove_nothing_and_refute_nothing() -> None:
    answers = {"model": NO_LOGGED_MODEL, "run": run(outputs=None, root="")}
    assert code(LINKED, source="dbfs:/elsewhere/model", **answers) == "undetermined"
    assert code(LINKED, source="runs:/r1/model", **answers) == "ok"


def test_a_run_that_is_deleted_is_told_although_its_link_cannot_be_seen() -> None:
    deleted = RunFacts("r1", "FINISHED", "deleted", 1, "", GOOD, "7", None)
    assert code(LINKED, run=deleted) == "run_deleted"


@pytest.mark.parametrize(
    "broken", ["logged_model_gone", "origin_gone", "origin_replaced", "origin_unclear", "copies_too_deep"]
)
@pytest.mark.parametrize("check", [METRIC, METRIC.replace("}", ", source: logged_model}"), LINKED])
def test_what_cannot_be_followed_fails_with_its_own_code(broken: str, check: str) -> None:
    verdict = judged(check, model=Absent(broken, "gone"))  # type: ignore[arg-type]
    assert (verdict.kind, verdict.checks[0].code) == (VerdictKind.REJECT, broken)


@pytest.mark.parametrize("check", [METRIC, LINKED])
def test_a_logged_model_that_could_not_be_read_is_never_judged(check: str) -> None:
    assert judged(check, model=Unreadable("500")).reason_code == "unreadable"


def test_a_copy_is_judged_by_where_its_files_lie_and_not_by_what_it_is_named() -> None:
    here = {"model": NO_LOGGED_MODEL, "run": run(outputs=())}
    own = OriginFacts("models:/a/1", "s3://b/r1/artifacts/model")
    other = OriginFacts("models:/a/1", "s3://b/r2/artifacts/model")
    assert code(LINKED, source="models:/a/1", origin=own, **here) == "ok"
    assert code(LINKED, source="models:/a/1", origin=other, **here) == "link_unproven"


def test_a_run_that_logged_several_models_has_a_metric_of_none() -> None:
    several = run(outputs=("m-1", "m-2"))
    own = LoggedModelFacts("m-1", "r1", "READY", {"validation_accuracy": (Reading("0.4", 0.4, 0, 0),)}, "7")
    assert code(METRIC, run=several, model=own) == "below_min"
    assert code(METRIC, run=several) == "metric_missing"
    assert code(METRIC, source="runs:/r1/a", run=several, model=NO_LOGGED_MODEL) == "several_models"


def test_engine_1_believes_what_it_believed() -> None:
    claims = {"run": run(outputs=())}
    assert code(LINKED, engine=1, **claims) == "ok"
    assert code(METRIC, engine=1, run=run(outputs=("m-1", "m-2"))) == "ok"
    assert code(METRIC, engine=1, model=Absent("no_logged_model", "gone")) == "ok"  # type: ignore[arg-type]
    astray = {"source": "runs:/r1/../r2/model", "model": NO_LOGGED_MODEL}
    assert code(LINKED, engine=1, **astray) == "ok"  # type: ignore[arg-type]
    assert code(LINKED, **astray) == "link_unproven"  # type: ignore[arg-type]


# --- places --------------------------------------------------------------------------------------------------

ROOT = "s3://b/r1/artifacts"


@pytest.mark.parametrize("below", ["", "/", "/model", "/model/", "/my model", "/a/b/c", "/a..b", "/%41", "/модель"])
def test_what_lies_under_a_root(below: str) -> None:
    assert lies_under(ROOT + below, ROOT)
    assert lies_under(ROOT + below, ROOT + "/")


@pytest.mark.parametrize(
    "place",
    [
        "", "s3://b/r1", "s3://b/r1/artifacts2", "s3://b/r1/artifacts2/model", "S3://b/r1/artifacts/model",
        "s3://B/r1/artifacts/model", "s3://b/R1/artifacts/model", "s3://b//r1/artifacts/model",
        "s3://b/r1/./artifacts/model", " s3://b/r1/artifacts/model", f"{ROOT}/../x", f"{ROOT}/a/../../x",
        f"{ROOT}/..", f"{ROOT}/.", f"{ROOT}//x", f"{ROOT}/a//x", f"{ROOT}/%2e%2e/x", f"{ROOT}/%2E./x",
        f"{ROOT}/..%2fx", f"{ROOT}/%252e%252e/x", f"{ROOT}/%25252e%25252e/x", f"{ROOT}%2f..%2fx", f"{ROOT}/a%2f%2fb",
        f"{ROOT}/..\\x", f"{ROOT}/..%5cx", f"{ROOT}/.\t./x", f"{ROOT}/.. /x", f"{ROOT}/a\0b", f"{ROOT}/a%00b",
        f"{ROOT}/a?b=/../", f"{ROOT}/a#/../b", f"{ROOT}/\u200b../x", f"{ROOT}/%" + "25" * 20 + "2e%2e/x",
    ],
)  # fmt: skip
def test_what_may_lead_elsewhere_does_not_lie_under_a_root(place: str) -> None:
    assert not lies_under(place, ROOT)


@pytest.mark.parametrize("owner", ["0123456789abcdef" * 2, "0123456789ABCDEF" * 2, "m-1", "tr-1"])
@pytest.mark.parametrize(
    "place", ["{0}/artifacts", "model/{0}/artifacts/model", "models/{0}/artifacts/", "{0}%2fartifacts"]
)
def test_files_of_another_run_in_the_folder_of_a_run_are_not_its_own(owner: str, place: str) -> None:
    """An experiment may lie anywhere, also in the folder of somebody else's run."""
    assert not lies_under(f"{ROOT}/{place.format(owner)}", ROOT)
    assert not lies_under(f"runs:/r1/{place.format(owner)}", "runs:/r1")
    assert lies_under(f"{ROOT}/{owner}/model", ROOT)


def test_nothing_lies_under_no_root() -> None:
    assert not lies_under("/model", "")
    assert not lies_under("//model", "/")


@given(st.lists(st.sampled_from(["..", "%2e%2e", "%252e.", ".%2E", "a", "b", "", "/", "%2f", "%5c", "\\"]), max_size=8))
def test_whatever_is_under_a_root_stays_there_when_it_is_unquoted_and_resolved(parts: list[str]) -> None:
    import posixpath
    from urllib.parse import unquote

    place = f"{ROOT}/{'/'.join(parts)}"
    if lies_under(place, ROOT):
        for _ in range(4):
            resolved = posixpath.normpath(place.replace("\\", "/").replace("s3://", "/"))
            assert (resolved + "/").startswith("/b/r1/artifacts/")
            place = unquote(place)


# --- descriptions and names of metrics -----------------------------------------------------------------------

INVISIBLE = "\u200b\u2800\u3164\ufeff\u00ad\u115f\u1160\uffa0\u034f\u2060\U000e0041\u3000"


@pytest.mark.parametrize(
    ("text", "count"),
    [("a model", 6), ("модель 5", 7), ("模型", 2), ("नमूना", 3), ("١٢٣", 3), ("...!", 0), ("😀" * 9, 0),
     (INVISIBLE * 50, 0),
     ("a" + INVISIBLE * 50 + "b", 2), ("\U00013441" * 9, 0)],
)  # fmt: skip
def test_a_description_is_as_long_as_the_letters_and_digits_in_it(text: str, count: int) -> None:
    assert described(text, max(count, 1)) == ("ok" if count else "description_too_short")
    assert described(text, count + 1) == "description_too_short"


def test_no_default_ignorable_letter_counts() -> None:
    # Lo within Default_Ignorable_Code_Point of DerivedCoreProperties.txt, Unicode 16.
    for character in "\u115f\u1160\u3164\uffa0":
        assert described(character * 9, 1) == "description_too_short"


def test_of_a_long_description_only_what_is_kept_counts() -> None:
    assert described("a" * 5000, 4096) == "ok"
    assert described("a" * 5000, 4097) == "description_too_short"
    assert described("\u200b" * 4096 + "a" * 100, 1) == "description_too_short"
    assert described(" " * 5000, 1) == "description_too_short"
    # As engine 1 judged it.
    assert described("\u200b" * 4096 + "a" * 100, 20, engine=1) == "ok"
    assert described(INVISIBLE * 10, 20, engine=1) == "ok"


def described(text: str, least: int, engine: int = 2) -> str:
    version = VersionFacts("r1", "", "READY", "None", Text.of(text))
    rule = f"  - name: r\n    targets: [Production]\n    require: [{{description: {{min_length: {least}}}}}]\n"
    policy = parse_policy(f"version: 1\nrules:\n{rule}", "p").policy
    return judge_again(engine, policy, ASKED, Evidence.of(NOW, {VersionFacts: version})).checks[0].code


@pytest.mark.parametrize(
    "name", ["validationAccuracy", "val_acc", "acc", "valAcc", "val-acc", "val.acc", "val/acc", "val acc", "VAL_ACC",
             "ROCAUC_macro/AUCScore", "f1Score", "macroF1", "F1"],
)  # fmt: skip
def test_a_share_is_known_by_any_word_of_its_name(name: str) -> None:
    high = {"run": RunFacts("r1", "FINISHED", "active", 1, "", {name: Reading("5.0", 5.0, 0, 0)}, "7", ("m-1",))}
    check = f"{{metric: '{name}', min: 0.9}}"
    assert code(check, **high) == "out_of_bounds"
    assert code(check.replace("}", ", bounds: null}"), **high) == "ok"
    assert code(check.replace("}", ", bounds: [0, 9]}"), **high) == "ok"


@pytest.mark.parametrize("name", ["accel", "inaccuracy", "access_time", "vacc", "accountFraction", "loss"])
def test_other_words_have_no_bounds(name: str) -> None:
    high = {"run": RunFacts("r1", "FINISHED", "active", 1, "", {name: Reading("5.0", 5.0, 0, 0)}, "7", ("m-1",))}
    assert code(f"{{metric: {name}, min: 0.9}}", **high) == "ok"


def test_engine_1_knows_the_names_that_it_knew() -> None:
    for name, expected in (("validationAccuracy", "ok"), ("val_acc", "ok"), ("val_accuracy", "out_of_bounds")):
        high = {"run": RunFacts("r1", "FINISHED", "active", 1, "", {name: Reading("5.0", 5.0, 0, 0)})}
        assert code(f"{{metric: {name}, min: 0.9}}", engine=1, **high) == expected


# --- policies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "doubted"),
    [("", True), ("\n      - {run: {}}", True), ("\n      - {run: {linked: true}}", False),
     ("\n  - name: all\n    targets: [Production]\n    require: [{run: {linked: true}}]", False),
     ("\n  - name: some\n    models: [a]\n    targets: [Production]\n    require: [{run: {linked: true}}]", True),
     ("\n  - name: other\n    targets: [Staging]\n    require: [{run: {linked: true}}]", True)],
)  # fmt: skip
def test_a_runs_metric_without_proof_is_doubted(more: str, doubted: bool) -> None:
    head = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n"
    warnings = parse_policy(f"{head}      - {METRIC}{more}\n", "p").warnings
    assert [warning.in_file("p").partition(" anybody")[0] for warning in warnings] == (
        ["p:6:9: rules[0].require[0]:"] if doubted else []
    )
    own = METRIC.replace("}", ", source: logged_model}")
    assert parse_policy(f"{head}      - {own}{more}\n", "p").warnings == ()
