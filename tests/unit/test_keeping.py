"""How much of the evidence is kept: what checks ask for always, the rest within 64 kB, and what is left out is told."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.audit.evidence.storing import salted
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import Evidence, LoggedModelFacts, Needs, RunFacts, VersionFacts
from reconciler.domain.evidence.keeping import ROOM, within_room
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import KEPT, document_of, fields_of
from reconciler.domain.evidence.withheld import Withheld
from reconciler.domain.text import Text
from reconciler.domain.verdict import VerdictKind
from reconciler.judging import judge_again
from reconciler.policy.file import parse_policy
from tests.builders import with_changed
from tests.whole_evidence import ASKED, FLOODS, HOSTILE, NEEDS, NOW, POLICY, flooded, kept, reading, whole


def room_of(evidence: Evidence) -> int:
    """What its row holds, before it is compressed."""
    columns = salted(evidence.to_json()).columns
    return len(zlib.decompress(columns["content"])) + len(columns["salts"])


def shown(evidence: Evidence) -> Any:
    return json.loads(evidence.to_json())


def as_before(evidence: Evidence, smaller: Evidence) -> None:
    """What is kept gives the same verdict, now and from what is stored, and what checks ask for is in it."""
    verdict = evaluate(POLICY, ASKED, evidence, NOW)
    assert evaluate(POLICY, ASKED, smaller, NOW) == verdict
    for engine in (1, 2):
        again = judge_again(engine, POLICY, ASKED, evidence)
        assert judge_again(engine, POLICY, ASKED, Evidence.from_json(smaller.to_json())) == again
    before, after = shown(evidence), shown(smaller)
    for key, member, name in (
        ("run", "metrics", "validation_accuracy"), ("version", "tags", "owner")
    ):  # fmt: skip
        assert after[key][member].get(name) == before[key][member].get(name)
    assert after["version"]["description"] == before["version"]["description"]


def test_evidence_of_the_usual_size_is_kept_as_it_was_read() -> None:
    assert kept(whole(), NEEDS, ()) == whole()
    assert room_of(whole()) < 16_000
    assert Evidence.from_json(whole().to_json()) == whole()


@pytest.mark.parametrize("flood", FLOODS)
def test_whatever_a_run_is_flooded_with_64_kb_are_kept_and_the_verdict_is_the_same(flood: str) -> None:
    evidence = flooded(flood)
    smaller = kept(evidence, NEEDS, ())
    assert room_of(evidence) > ROOM
    assert room_of(smaller) <= ROOM
    as_before(evidence, smaller)
    # What one kind has too much of pushes no other out.
    assert shown(smaller)["version"]["tags"] == shown(evidence)["version"]["tags"]
    assert shown(smaller)["logged_model"] == shown(evidence)["logged_model"]


def test_tags_of_any_number_are_kept_as_far_as_there_is_room_and_a_check_has_its_own() -> None:
    tags = {f"{at}{HOSTILE}": Text.of(HOSTILE * 300) for at in range(1000)} | {"owner": Text.of("z" * 10_000)}
    evidence = with_changed(whole(), VersionFacts, tags=tags)
    smaller = kept(evidence, NEEDS, ())
    assert room_of(smaller) <= ROOM
    as_before(evidence, smaller)
    assert shown(smaller)["run"] == shown(evidence)["run"]
    note = shown(smaller)["version"]["left_out"]["tags"]
    assert note["count"] == len(tags) - len(shown(smaller)["version"]["tags"])


def test_what_was_left_out_is_counted_and_can_be_recognised_by_its_digest() -> None:
    evidence = flooded("metrics")
    before, after = shown(evidence)["run"]["metrics"], shown(kept(evidence, NEEDS, ()))["run"]
    gone = sorted(before.keys() - after["metrics"].keys())
    told = json.dumps([[name, before[name]] for name in gone], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(told.encode("ascii")).hexdigest()
    assert after["left_out"] == {"metrics": {"count": len(gone), "sha256": digest}}
    assert len(gone) > 99_000


def test_of_a_logged_models_metric_the_latest_reading_on_each_dataset_is_never_left_out() -> None:
    many = tuple(reading(at / 1e6, at, "holdout") for at in range(5000))
    model = LoggedModelFacts("m-1", "r1", "READY", {"auc": (*many, reading(0.94, 9999, "holdout"))}, "1", left_out={})
    evidence = Evidence.of(
        NOW, {VersionFacts: whole().fact(VersionFacts), RunFacts: whole().fact(RunFacts)} | {LoggedModelFacts: model}
    )
    smaller = kept(evidence, NEEDS, ())
    assert room_of(smaller) <= ROOM
    as_before(evidence, smaller)
    left = shown(smaller)["logged_model"]
    steps = [one["step"] for one in left["metrics"]["auc"]]
    assert steps == [*range(5000 - len(steps) + 1, 5000), 9999]
    assert left["left_out"]["metrics"]["count"] == 5001 - len(steps)


def test_the_reading_of_each_digest_of_a_dataset_is_kept_since_a_check_may_name_either() -> None:
    measured = (reading(0.95, 0, "holdout", "first"), reading(0.5, 1, "holdout", "second"))
    earlier = {f"a{at:03}": tuple(reading(0.1, step, "holdout", "first") for step in range(40)) for at in range(400)}
    model = LoggedModelFacts("m-1", "r1", "READY", earlier | {"auc": measured}, "1", left_out={})
    wide = Evidence.of(NOW, {VersionFacts: whole().fact(VersionFacts), RunFacts: flooded("metrics").fact(RunFacts)})
    evidence = wide.answering(LoggedModelFacts, model)
    auc = "{metric: auc, min: 0.9, source: logged_model, dataset: holdout, dataset_digest: first}"
    policy = parse_policy(f"version: 1\nrules:\n- {{name: r, targets: [Production], require: [{auc}]}}\n", "p").policy
    smaller = kept(evidence, policy.needs(ASKED), ())
    assert room_of(smaller) <= ROOM
    assert evaluate(policy, ASKED, smaller, NOW).kind is VerdictKind.APPROVE


def test_what_checks_ask_for_is_kept_even_where_it_alone_has_no_room() -> None:
    evidence = with_changed(
        whole(), VersionFacts, tags={"owner": Text.of("\0" * 4096), "never.set": Text.of("\U0001f600" * 4096)},
        description=Text.of("\U0001f600" * 4096),
    )  # fmt: skip
    smaller = kept(evidence, NEEDS, ())
    as_before(evidence, smaller)
    assert shown(smaller)["version"]["tags"] == shown(evidence)["version"]["tags"]
    assert shown(smaller)["run"]["metrics"].keys() == {"validation_accuracy"}
    assert shown(smaller)["run"]["left_out"].keys() == {
        "metrics",
        "params",
        "datasets",
        "user",
        "git_commit",
        "source_name",
    }


NAMES = st.sampled_from(
    ["owner", "never.set", "auc", "validation_accuracy", "a", "b", "c" * 50, HOSTILE, "transition_request.x"]
)
TEXTS = st.builds(Text.of, st.text(max_size=300))
READINGS = st.builds(
    reading, st.sampled_from([0.1, 0.95]), st.integers(0, 2), st.sampled_from(["holdout", "train", ""])
)


@settings(max_examples=150, deadline=None)
@given(
    tags=st.dictionaries(NAMES, TEXTS), params=st.dictionaries(NAMES, TEXTS), metrics=st.dictionaries(NAMES, READINGS),
    of_model=st.dictionaries(NAMES, st.lists(READINGS, min_size=1, max_size=6).map(tuple)), room=st.integers(0, 12_000),
)  # fmt: skip
def test_whatever_is_read_and_whatever_room_there_is_the_verdict_is_that_of_all_that_was_read(
    tags: Any, params: Any, metrics: Any, of_model: Any, room: int
) -> None:
    model = LoggedModelFacts("m-1", "r1", "READY", of_model, "1", left_out={})
    evidence = with_changed(whole(), RunFacts, metrics=metrics, params=params)
    evidence = with_changed(evidence, VersionFacts, tags=tags)
    evidence = replace(evidence, answers={**evidence.answers, "logged_model": model})
    smaller, least = within_room(evidence, NEEDS, room), within_room(evidence, NEEDS, 0)
    as_before(evidence, smaller)
    as_before(evidence, only_needed(evidence))
    assert room_of(smaller) <= max(room, room_of(least))
    for key in ("version", "run", "logged_model"):
        before, after = shown(evidence)[key], shown(smaller)[key]
        for member in ("tags", "params", "metrics", "datasets"):
            left_out = after["left_out"].get(member, {"count": 0})["count"]
            assert many(before.get(member, ())) == many(after.get(member, ())) + left_out


def only_needed(evidence: Evidence) -> Evidence:
    """As earlier releases read it."""
    version, run, model = (evidence.fact(kind) for kind in (VersionFacts, RunFacts, LoggedModelFacts))
    assert isinstance(version, VersionFacts)
    assert isinstance(run, RunFacts)
    assert isinstance(model, LoggedModelFacts)
    asked = {name: reading for name, reading in run.metrics.items() if name in NEEDS.metrics}
    of_model = {name: readings for name, readings in model.metrics.items() if name in NEEDS.metrics}
    smaller = with_changed(evidence, RunFacts, metrics=asked, params=None, user=None, left_out=None)
    tags = {name: text for name, text in version.tags.items() if name in NEEDS.tags}
    smaller = with_changed(smaller, VersionFacts, tags=tags, creation_timestamp=None, left_out=None)
    return replace(smaller, answers={**smaller.answers, "logged_model": replace(model, metrics=of_model)})


def many(values: Any) -> int:
    """Tags, metrics or datasets; of a logged model, readings."""
    below = values.values() if isinstance(values, dict) else values
    return sum(len(one) if isinstance(one, list) else 1 for one in below)


# --- evidence.exclude ----------------------------------------------------------------------------------------


def test_what_is_excluded_is_gone_before_anything_is_counted_or_digested() -> None:
    tags = {f"secret.{at}": Text.of("x" * 4000) for at in range(100)} | {"owner": Text.of("team")}
    smaller = kept(
        with_changed(whole(), VersionFacts, tags=tags), NEEDS, ("secret.*", "param_1*", "holdout", "mlflow.user")
    )
    told = shown(smaller)
    assert "secret.1" not in smaller.to_json()
    assert told["version"]["left_out"] == {}
    assert told["version"]["tags"].keys() == {"owner"}
    assert not [name for name in told["run"]["params"] if name.startswith("param_1")]
    assert [one["name"] for one in told["run"]["datasets"]] == ["train"]
    assert "user" not in told["run"]
    # A metric that a check asks for keeps its dataset; of others the readings on it are gone.
    assert len(told["logged_model"]["metrics"]["auc"]) == 3
    assert {one["dataset_name"] for one in told["logged_model"]["metrics"]["loss"]} == {"train"}
    assert told["excluded_names"] == ["holdout", "mlflow.user", "param_1*", "secret.*"]


def test_a_reading_that_names_no_dataset_is_on_none_that_is_excluded() -> None:
    model = replace(whole().fact(LoggedModelFacts), metrics={"loss": (reading(0.5), reading(0.5, 1, "train"))})  # type: ignore[type-var]
    evidence = replace(whole(), answers={**whole().answers, "logged_model": model})
    [left] = shown(kept(evidence, NEEDS, ("*",)))["logged_model"]["metrics"]["loss"]
    assert left["dataset_name"] == ""


def test_whoever_asks_stored_evidence_for_a_name_that_was_kept_out_gets_no_answer() -> None:
    stored = Evidence.from_json(kept(whole(), Needs(), ("tick*", "param_1")).to_json())
    version, run = stored.fact(VersionFacts), stored.fact(RunFacts)
    assert isinstance(version, VersionFacts)
    assert isinstance(run, RunFacts)
    for ask in (lambda: version.tags.get("ticket"), lambda: "tickle" in version.tags):
        with pytest.raises(Withheld, match=r"version\.tags\.tick(et|le) is kept out by evidence\.exclude"):
            ask()
    with pytest.raises(Withheld):
        (run.params or {}).get("param_1")
    assert version.tags.get("other") is None


# --- audit redact --------------------------------------------------------------------------------------------


def test_without_any_one_field_of_all_that_is_kept_a_decision_is_judged_as_before_or_not_at_all() -> None:
    for evidence in (whole(), flooded("one user")):
        smaller = kept(evidence, NEEDS, ("other",))
        verdict = evaluate(POLICY, ASKED, smaller, NOW)
        fields = {field.path: field.value for field in fields_of(shown(smaller))}
        for path in fields:
            if path in KEPT or path.endswith((".answer", ".code")):
                continue
            left = evidence_left(document_of({one: value for one, value in fields.items() if one != path}), [path])
            again = judge_again(2, POLICY, ASKED, left)
            withheld = [check for check in again.checks if check.code == "withheld"]
            assert again.kind is VerdictKind.ABSTAIN if withheld else again == verdict, path


@pytest.mark.parametrize(
    "path", ["run.user", "run.params", "run.datasets", "run.left_out", "version.creation_timestamp"]
)
def test_whoever_asks_for_a_member_that_was_redacted_gets_no_answer(path: str) -> None:
    fields = {field.path: field.value for field in fields_of(shown(whole())) if not field.path.startswith(path)}
    left = evidence_left(document_of(fields), [path])
    key, member = path.split(".")
    fact = left.fact(RunFacts if key == "run" else VersionFacts)
    with pytest.raises(Withheld, match=f"{path} was redacted"):
        getattr(fact, member)
