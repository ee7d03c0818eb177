"""Who may change the tag that a finding rests on: told beside it, kept with it, and never judged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.domain.engines.evaluate import ENGINES, evaluate
from reconciler.domain.evidence.evidence import Evidence, Needs, ProtectionFacts, VersionFacts
from reconciler.domain.evidence.guards import NOT_KNOWN
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import document_of, fields_of
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.verdict import CheckResult, Verdict
from reconciler.judging import judge_batch
from reconciler.policy.file import parse_policy
from reconciler.ports import Listed
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Transport
from tests.builders import a_request
from tests.plugins.packages import seen
from tests.unit.test_transport import Answer, replying, serving

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ASKED = a_request("fraud", NOW)
PROTECTED = "the tag is protected"
OPEN = "anybody who may edit the version can change the tag"
BY_MANAGERS = "the tag is protected, but not from whoever has MANAGE on the model"


def policy(*checks: str) -> Any:
    lines = "".join(f"      - {check}\n" for check in checks)
    return parse_policy(
        f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n{lines}", "p"
    ).policy


def guarded(guards: object) -> Evidence:
    """A version whose owner is set, on a server that says this of its tags; None: it says nothing."""
    return seen() if guards is None else seen().knowing(ProtectionFacts(guards))  # type: ignore[arg-type]


def without_texts(verdict: Verdict) -> Verdict:
    return replace(verdict, checks=tuple(replace(check, guard="") for check in verdict.checks))


# --- what a finding says -------------------------------------------------------------------------------------

GUARDS = [
    ({"owner": "protected"}, PROTECTED),
    ({"owner": "open_to_managers"}, BY_MANAGERS),
    ({"owner": "open_to_editors"}, OPEN),
    ({"other": "protected"}, NOT_KNOWN),
    (None, NOT_KNOWN),
    # Of a later release, or of whoever wrote into the evidence.
    ({"owner": "sealed"}, NOT_KNOWN),
    ({"owner": ["protected"]}, NOT_KNOWN),
    ({"owner": None}, NOT_KNOWN),
]
CHANGED = [None, [], "x", 3, {"owner": 3}, {"owner": "protected\n"}, {"owner": {"a": 1}}, {"": "protected"}]


@pytest.mark.parametrize(("guards", "told"), GUARDS)
@pytest.mark.parametrize(
    "check", ["tag: owner", "{tag: owner, equals: nobody}", "{tag: owner, present: false}", "{tag: owner, type: date}"]
)
def test_a_finding_about_a_tag_says_who_may_change_it_and_judges_the_same(check: str, guards: Any, told: str) -> None:
    for judge in ENGINES.values():
        verdict = judge(policy(check), ASKED, guarded(guards), NOW)
        assert [one.guard for one in verdict.checks] == [told]
        assert without_texts(verdict) == without_texts(judge(policy(check), ASKED, seen(), NOW))
        assert verdict.reason == judge(policy(check), ASKED, seen(), NOW).reason
    assert verdict.checks[0].read_from == f"version; {told}"


def test_a_tag_that_is_not_there_has_a_guard_too() -> None:
    [check] = evaluate(policy("tag: never.set"), ASKED, guarded({"never.set": "protected"}), NOW).checks
    assert (str(check.code), check.read_from) == ("tag_missing", f"version; {PROTECTED}")


def test_a_link_to_a_card_has_the_guard_of_its_tag_and_a_description_has_none() -> None:
    linked = guarded({"card": "open_to_editors"})
    fact = linked.fact(VersionFacts)
    assert isinstance(fact, VersionFacts)
    card = replace(fact.tags["owner"], head="https://cards/1", length=15)
    with_card = linked.knowing(replace(fact, tags={"card": card}))
    check = "documentation: {of: version, or_tag: card}"
    assert [one.guard for one in evaluate(policy(check), ASKED, with_card, NOW).checks] == [OPEN]
    assert [one.guard for one in evaluate(policy(check), ASKED, linked, NOW).checks] == [""]


def test_alternatives_tell_it_of_each_tag() -> None:
    check = "{id: either, any_of: [[{tag: owner}], [{tag: card}, {tag: owner}], [description: {min_length: 1}]]}"
    whole, *parts = evaluate(policy(check), ASKED, guarded({"owner": "protected"}), NOW).checks
    assert whole.read_from == f"tag owner: {PROTECTED}; tag card: {NOT_KNOWN}"
    assert [one.guard for one in parts] == [PROTECTED, NOT_KNOWN, PROTECTED, ""]


def test_many_alternatives_are_told_as_far_as_there_is_room() -> None:
    alternatives = ", ".join(f"[{{tag: {'t' * 200}{number}}}]" for number in range(20))
    [whole, *_] = evaluate(policy(f"{{id: one, any_of: [{alternatives}]}}"), ASKED, seen(), NOW).checks
    assert (len(whole.read_from), whole.read_from[-1]) == (500, "…")


# --- what is kept --------------------------------------------------------------------------------------------


def test_it_is_kept_field_by_field_and_judged_again_to_the_same_words() -> None:
    shown = guarded({"owner": "protected", "tier": "open_to_editors"})
    stored = Evidence.from_json(shown.to_json())
    assert stored == shown
    assert document_of(dict(fields_of(shown.to_data()))) == shown.to_data()
    assert evaluate(policy("tag: owner"), ASKED, stored, NOW) == evaluate(policy("tag: owner"), ASKED, shown, NOW)


@pytest.mark.parametrize("field", ["protection.tags.owner", "protection.tags", "protection.answer"])
def test_what_was_redacted_of_it_is_not_known_and_no_reason_to_abstain(field: str) -> None:
    document = guarded({"owner": "protected"}).to_data()
    fields = {path: value for path, value in dict(fields_of(document)).items() if not path.startswith(field)}
    left = document_of(fields)
    if field == "protection.answer":
        left.pop("protection", None)
        again = Evidence.from_data(left)
    else:
        again = evidence_left(left, [field])
    verdict = evaluate(policy("tag: owner"), ASKED, again, NOW)
    assert (str(verdict.kind), verdict.checks[0].guard) == ("approve", NOT_KNOWN)


@pytest.mark.parametrize("tags", CHANGED)
def test_what_somebody_wrote_in_its_place_tells_nothing_and_changes_no_verdict(tags: Any) -> None:
    stored = seen().to_data() | {"protection": {"answer": "found", "tags": tags}}
    verdict = evaluate(policy("tag: owner"), ASKED, Evidence.from_data(stored), NOW)
    assert (str(verdict.kind), verdict.checks[0].guard) == ("approve", NOT_KNOWN)


def test_a_tag_that_is_kept_out_of_the_evidence_is_kept_out_here_too() -> None:
    kept = guarded({"owner": "protected", "tier": "protected"}).excluding([], ["own*"])
    assert "owner" not in kept.to_json()
    verdict = evaluate(policy("tag: owner"), ASKED, kept, NOW)
    assert (str(verdict.reason_code), verdict.checks[0].guard) == ("withheld", "")


# --- what it costs -------------------------------------------------------------------------------------------

SAID = {"keys": ["owner", "tier"], "enforced": True, "approvers_named": True}
VERSION = {"name": "fraud", "version": "1", "current_stage": "None", "status": "READY", "source": "s3://b/m",
           "run_id": "", "creation_timestamp": 1, "last_updated_timestamp": 1,
           "tags": [{"key": "owner", "value": "team"}]}  # fmt: skip
BY_TAG = "version: 1\nrules: [{name: r, targets: [Production], when: {model_tag: {tier: '1'}}, require: [tag: owner]}]"


def app(said: object, *, older: bool = False) -> Answer:
    """An app that lists nothing, and says this of protected tags where it is asked."""

    def answer(handler: Any) -> None:
        address = urlsplit(handler.path)
        asked = "protected_tags" in parse_qs(address.query) and not older
        bodies = {
            "list": {"requests": []} | ({"protected_tags": said} if asked else {}),
            "get": {"model_version": VERSION, "registered_model": {"name": "fraud", "tags": []}},
        }
        replying(200, json.dumps(bodies[Path(address.path).name]))(handler)

    return answer


def judged_on(registry: AppRegistry) -> CheckResult:
    rules = parse_policy(BY_TAG, "p").policy
    [one] = judge_batch(registry, rules, [Listed(ASKED, None)], NOW)
    return one.verdict.checks[0]


def lists(server: Any) -> list[dict[str, list[str]]]:
    asked = [urlsplit(call["path"]) for call in server.seen]
    return [parse_qs(one.query) for one in asked if one.path.endswith("transition-requests/list")]


def registry_at(server: Any) -> AppRegistry:
    client = Transport(Endpoint(server.uri))
    return AppRegistry(server.uri, "", client, client)


def test_the_list_of_requests_brings_it_along_and_the_evidence_costs_no_call_more() -> None:
    with serving(app(SAID)) as server:
        registry = registry_at(server)
        registry.open_requests(Scope.of_all_models([Target.parse("Production")]))
        told = [judged_on(registry).guard for _ in range(3)]
        assert (told, len(lists(server))) == ([PROTECTED] * 3, 1)


def test_it_is_what_the_last_list_said() -> None:
    said = dict(SAID)
    with serving(app(said)) as server:
        registry = registry_at(server)
        for keys, expected in ((["owner"], PROTECTED), ([], OPEN)):
            said["keys"] = keys
            registry.open_requests(Scope.of_all_models([Target.parse("Production")]))
            assert judged_on(registry).guard == expected


def test_a_command_gets_it_with_its_question_about_a_version() -> None:
    with serving(app(SAID)) as server:
        registry = registry_at(server)
        registry.find("fraud", "1", Target.parse("Production"), NOW)
        assert (judged_on(registry).guard, len(lists(server))) == (PROTECTED, 1)


def test_where_nothing_was_listed_it_is_asked_once_and_only_for_tags() -> None:
    with serving(app(SAID)) as server:
        registry = registry_at(server)
        registry.evidence([(Listed(ASKED, None), Needs(run=True))], NOW)
        assert lists(server) == []
        assert [judged_on(registry).guard for _ in range(2)] == [PROTECTED] * 2
        assert len(lists(server)) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (SAID | {"enforced": False}, OPEN),
        (SAID | {"approvers_named": False}, BY_MANAGERS),
        (SAID | {"keys": ["Owner"]}, OPEN),
        ("nonsense", NOT_KNOWN),
        ({"keys": [1]}, NOT_KNOWN),
        ({"keys": "owner"}, NOT_KNOWN),
        (None, NOT_KNOWN),
    ],
)
def test_what_the_app_says_is_told_and_nonsense_stops_no_list(said: object, told: str) -> None:
    with serving(app(said)) as server:
        registry = registry_at(server)
        assert registry.open_requests(Scope.of_all_models([Target.parse("Production")])).requests == []
        assert (judged_on(registry).guard, len(lists(server))) == (told, 1)


def test_an_older_app_says_nothing_and_is_asked_once() -> None:
    with serving(app(SAID, older=True)) as server:
        registry = registry_at(server)
        assert [judged_on(registry).guard for _ in range(2)] == [NOT_KNOWN] * 2
        assert len(lists(server)) == 1


def test_an_app_that_cannot_be_asked_leaves_the_evidence_as_it_was_read() -> None:
    answering = app(SAID)

    def broken(handler: Any) -> None:
        if "transition-requests/list" in handler.path:
            replying(403, '{"error_code": "PERMISSION_DENIED", "message": "no"}')(handler)
        else:
            answering(handler)

    with serving(broken) as server:
        check = judged_on(registry_at(server))
    assert (str(check.result), check.guard) == ("passed", NOT_KNOWN)
