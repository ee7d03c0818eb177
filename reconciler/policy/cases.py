"""Cases of a policy: what is given, and what is to come of it. They lie beside the policy, as YAML."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field, model_validator

from reconciler.domain.checks.signature import ColumnsField
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Answer,
    Dataset,
    Evidence,
    Fact,
    HistoryFacts,
    HolderFacts,
    LoggedModelFacts,
    ModelFacts,
    Needs,
    Reading,
    RunFacts,
    SignatureFacts,
    TenureFacts,
    Unreadable,
    VersionFacts,
    number,
)
from reconciler.domain.evidence.history_facts import History
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.evidence.readings import latest
from reconciler.domain.evidence.signature_facts import Column, Columns
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.fields import DurationField, MomentField, TargetField, TextField, Value
from reconciler.domain.holding.causes import Cause, is_approved
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.domain.times import to_millis

Number = float | Literal["NaN", "Infinity", "-Infinity"]
_NOTHING_GIVEN = "the case gives none"
# What a stored decision says by itself.
_OF_THE_REQUEST = ("model", "target", "kind", "requester", "asked_at")


class GivenVersion(Value):
    tags: Mapping[TextField, TextField] = {}
    description: TextField = ""
    source: TextField = "runs:/run/model"
    stage: TextField = "None"


class GivenDataset(Value):
    name: TextField
    digest: TextField = ""


class GivenReading(Value):
    value: Number
    step: int = 0
    dataset: TextField = ""
    digest: TextField = ""


Values = Mapping[TextField, Number | tuple[GivenReading, ...]]


class GivenRun(Value):
    metrics: Values = Field({}, description="Of each the value, or a list of what was logged over its steps.")
    status: TextField = "FINISHED"
    deleted: bool = False
    ended: MomentField | None = None
    experiment: TextField = "0"
    user: TextField | None = None
    datasets: tuple[GivenDataset, ...] = ()
    models: tuple[TextField, ...] = ()


class GivenLoggedModel(Value):
    id: TextField = "m-1"
    run: TextField = "run"
    metrics: Values = Field({}, description="As of a run.")
    experiment: TextField = "0"


class GivenModel(Value):
    tags: Mapping[TextField, TextField] = {}
    description: TextField = ""


class GivenSignature(Value):
    inputs: ColumnsField | None = None
    outputs: ColumnsField | None = None


class GivenHolder(Value):
    version: TextField = "0"
    began_by: Literal["decision", "person", "administrator", "rollback", "baseline", "bypass", "undetermined"] = (
        "decision"
    )
    run: GivenRun | None = None
    logged_model: GivenLoggedModel | None = None


Part = Literal["version", "run", "logged_model", "registered_model", "holder", "tenure", "signature"]


class Given(Value):
    """What the registry shows. What is not given is not there; `unreadable` names what could not be read."""

    version: GivenVersion = GivenVersion()
    run: GivenRun | None = None
    logged_model: GivenLoggedModel | None = None
    registered_model: GivenModel = GivenModel()
    holder: GivenHolder | None = None
    held: Mapping[TargetField, DurationField] = Field(
        {}, description="Stages and aliases that the version holds, and for how long looks have seen it there."
    )
    signature: GivenSignature | None = None
    unreadable: tuple[Part, ...] = ()


class Asked(Value):
    name: TextField
    assurance: Assurance = Assurance.AUTHENTICATED


class Expected(Value):
    verdict: Literal["approve", "reject", "abstain"]
    reason: TextField | None = Field(None, description="The code of the verdict.")
    codes: Mapping[TextField, TextField] = Field({}, description="The code of each check, by `rule/id`.")
    archive_existing: bool | None = None


class Case(Value):
    name: TextField = Field(min_length=1, max_length=300)
    model: TextField = "model"
    target: TargetField | None = None
    kind: Literal["model", "prompt"] = "model"
    requester: Asked = Asked(name="somebody")
    at: MomentField | None = None
    asked_at: MomentField | None = None
    given: Given | None = None
    decision: TextField | None = None
    expect: Expected | Literal["approve", "reject", "abstain"]

    @model_validator(mode="after")
    def _of_one_kind(self) -> Case:
        if (self.given is None) == (self.decision is None):
            raise ValueError("give either given: with evidence, or decision: with the id of one in `decisions`")
        if self.given is not None and self.target is None:
            raise ValueError("name the target, such as Production or '@champion'")
        said = [key for key in _OF_THE_REQUEST if key in self.model_fields_set]
        if self.decision is not None and said:
            raise ValueError(f"a decision has its own request: remove {', '.join(said)}")
        return self

    @property
    def expected(self) -> Expected:
        return self.expect if isinstance(self.expect, Expected) else Expected(verdict=self.expect)

    def request(self, now: datetime) -> Request:
        asker = Requester(self.requester.name, self.requester.assurance)
        assert self.target is not None  # ensured when it was read
        asked_at = self.asked_at or now
        return Request("", "", self.model, "1", self.target, asker, asked_at, "", self.name, "", self.kind == "prompt")

    def evidence(self, now: datetime, needs: Needs) -> Evidence:
        """What is given, as far as checks ask for it."""
        given = self.given or Given()
        answers: dict[type[Fact], Answer] = {
            VersionFacts: _version(given.version, with_run=given.run is not None, held=given.held),
            RunFacts: _run(given.run, now),
            LoggedModelFacts: _logged_model(given.logged_model, now),
            HolderFacts: _holder(given.holder, now),
            TenureFacts: _tenure(given, needs.held, now),
            HistoryFacts: _history(given.run, needs, now),
            SignatureFacts: _signature(given.signature),
            ModelFacts: ModelFacts(_texts(given.registered_model.tags), Text.of(given.registered_model.description)),
        }
        unread = {kind: Unreadable("the case says so") for kind in answers if kind.key in given.unreadable}
        return Evidence.of(now, answers | unread)


class Cases(Value):
    """A file of cases."""

    decisions: TextField | None = Field(
        None, description="A file of decisions, as `audit show ID --format json` prints them: one, or a list."
    )
    cases: tuple[Case, ...] = Field(min_length=1)


def _texts(values: Mapping[str, str]) -> dict[str, Text]:
    return {name: Text.of(value) for name, value in values.items()}


def _version(version: GivenVersion, *, with_run: bool, held: Collection[Target] = ()) -> VersionFacts:
    text, tags, stage = Text.of(version.description), _texts(version.tags), version.stage
    if "stage" not in version.model_fields_set:
        stage = next((target.name for target in held if target.is_stage), stage)
    return VersionFacts("run" if with_run else "", version.source, "READY", stage, text, tags, left_out={})


def _run(run: GivenRun | None, now: datetime) -> RunFacts | Absent:
    if run is None:
        return Absent(AbsenceCode.NO_RUN, _NOTHING_GIVEN)
    ended = run.ended or now - timedelta(minutes=1)
    return RunFacts(
        "run",
        run.status,
        "deleted" if run.deleted else "active",
        to_millis(ended),
        "runs:/run",
        {name: latest(readings)[0] for name, readings in _readings(run.metrics, to_millis(ended)).items() if readings},
        run.experiment,
        run.models,
        {},
        tuple(Dataset(one.name, one.digest) for one in run.datasets),
        None if run.user is None else Text.of(run.user),
        left_out={},
    )


def _logged_model(model: GivenLoggedModel | None, now: datetime) -> LoggedModelFacts | Absent:
    if model is None:
        return Absent(AbsenceCode.NO_LOGGED_MODEL, _NOTHING_GIVEN)
    metrics = _readings(model.metrics, to_millis(now))
    return LoggedModelFacts(model.id, model.run, "READY", metrics, model.experiment, left_out={})


def _readings(metrics: Values, at: int) -> dict[str, tuple[Reading, ...]]:
    return {
        name: tuple(_reading(one.value, at, one.step, one.dataset, one.digest) for one in value)
        if isinstance(value, tuple)
        else (_reading(value, at),)
        for name, value in metrics.items()
    }


def _history(run: GivenRun | None, needs: Needs, now: datetime) -> HistoryFacts | Absent:
    if run is None:
        return Absent(AbsenceCode.NO_RUN, _NOTHING_GIVEN)
    steps: dict[str, set[int]] = {name: set() for name, _ in needs.histories}
    for name, step in needs.histories:
        steps[name] |= set() if step is None else {step}
    readings = _readings(run.metrics, to_millis(run.ended or now - timedelta(minutes=1)))
    return HistoryFacts(
        "run", {name: History.of(readings[name], asked) for name, asked in steps.items() if readings.get(name)}
    )


def _holder(holder: GivenHolder | None, now: datetime) -> HolderFacts | Absent:
    if holder is None:
        return Absent(AbsenceCode.NO_HOLDER, _NOTHING_GIVEN)
    cause = Cause(holder.began_by)
    arrival = Arrival(holder.began_by, is_approved(cause), f"it came there by {cause}")
    shown = _version(GivenVersion(), with_run=holder.run is not None)
    return HolderFacts(holder.version, arrival, shown, _run(holder.run, now), _logged_model(holder.logged_model, now))


def _tenure(given: Given, targets: Collection[Target], now: datetime) -> TenureFacts:
    """No look has seen the version at its stage where no time is given."""
    times = {target: TimeHeld(True, now - lasted, now, now) for target, lasted in given.held.items()}
    at_stage = {target for target in targets if target.is_stage and target.name == given.version.stage}
    others = {target: TimeHeld(target in at_stage, why=_NOTHING_GIVEN) for target in targets if target not in times}
    return TenureFacts({str(target): held for target, held in (times | others).items()})


def _signature(signature: GivenSignature | None) -> SignatureFacts | Absent:
    if signature is None:
        return Absent(AbsenceCode.NO_MODEL_FILE, _NOTHING_GIVEN)
    return SignatureFacts("the case", _columns(signature.inputs), _columns(signature.outputs))


def _columns(given: Sequence[tuple[str, str]] | None) -> Columns | None:
    return None if given is None else tuple(Column(name, kind or "any") for name, kind in given)


def _reading(value: Number, at: int, step: int = 0, dataset: str = "", digest: str = "") -> Reading:
    return Reading(str(value), number(str(value)), step, at, "run", dataset, digest)
