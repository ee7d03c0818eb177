"""A past whose truth is known from outside: what people did to a registry, kept in plain Python beside the record.

People do one thing between two cycles of a daemon, drawn by a seed; `Truth` is written by who does it, when it is done,
and never reads the database.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from reconciler.audit.holding.accepting import acknowledge
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.cycle import PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.evidence.evidence import Evidence, RunFacts, VersionFacts
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.policy.file import parse_policy
from reconciler.ports import Resolution, Resolved
from tests.builders import with_changed
from tests.fake_registry import FakeRegistry
from tests.store.test_observations import Looking

MINUTE: Final = timedelta(minutes=1)
SILENCE: Final = timedelta(hours=3)
# The steps before which `pause` and `resume` are typed.
PAUSED, RESUMED = 35, 41
MODELS: Final = ("churn", "fraud", "fraud_eu", "pricing", "Fraud")
TARGETS: Final = ("Production", "@champion")
# Who runs the runs of a model: whoever asks is ada.
RUN_USERS: Final = {"churn": "ADA", "fraud": "bob"}
POLICY: Final = """\
version: 1
rules:
  - name: accuracy
    models: [churn, "fraud*", pricing, Fraud]
    targets: [Production, "@champion"]
    require: [{{metric: validation_accuracy, min: {least}, on_missing: abstain}}]
  - name: idle
    models: ["nothing-*"]
    targets: [Production]
    require: [{{metric: validation_accuracy, min: 0.5}}]
"""

Place = tuple[str, str]
# What the registry shows of a version, as far as people may change it: by the name of the field in the report.
Shown = dict[str, str]


@dataclass
class Spell:
    """A version held a target, from one moment until another. `first`, `last`: the looks that saw it, by number."""

    model: str
    version: str
    target: str
    cause: str
    began: datetime
    person: str = ""
    ended: datetime | None = None
    first: int | None = None
    last: int | None = None
    accepted_by: str = ""
    approved_later: bool = False
    # What its decision rests on, and what looks found since: which of them (by number), a field and its value.
    judged: Shown = field(default_factory=dict)
    changes: list[tuple[int, str, str | None]] = field(default_factory=list)

    def sees(self, number: int, shown: Shown) -> None:
        """A look at it, once it was approved."""
        known = self.judged | {name: value for _, name, value in self.changes}
        for name in sorted(known.keys() | shown.keys()):
            if shown.get(name) != known.get(name):
                self.changes.append((number, name, shown.get(name)))

    def was_seen(self, since: int | None, until: int | None) -> bool:
        """Whether a look between these two cycles saw it."""
        assert self.first is not None
        assert self.last is not None
        return (until is None or self.first <= until) and (since is None or self.last > since)

    @property
    def standing(self) -> str:
        """Of a bypass."""
        if self.ended is not None:
            return "gone"
        return "approved" if self.approved_later else "acknowledged" if self.accepted_by else "open"

    @property
    def what(self) -> tuple[str, str, str]:
        return self.model, self.version, self.target


@dataclass(frozen=True)
class Judged:
    """A decision that must be on record."""

    model: str
    version: str
    target: str
    verdict: str
    mode: str
    effect: str
    requester: str
    asked: datetime | None
    at: datetime
    least: str


@dataclass
class Truth:
    spells: list[Spell] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    # Of each cycle: a moment before it, and one after it.
    cycles: list[tuple[datetime, datetime]] = field(default_factory=list)
    # Between which moments no daemon was running.
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)
    policies: list[tuple[datetime, str]] = field(default_factory=list)
    own_approvals: list[tuple[str, str, str]] = field(default_factory=list)
    pauses: int = 0
    waiting: set[tuple[str, str, str]] = field(default_factory=set)

    def holder(self, place: Place) -> Spell | None:
        return next((one for one in self.spells if (one.model, one.target) == place and one.ended is None), None)

    def held_at(self, at: datetime) -> set[tuple[str, str, str]]:
        return {one.what for one in self.spells if one.began <= at and (one.ended is None or at < one.ended)}

    def between(self, number: int) -> datetime:
        """A moment between a cycle and the next one."""
        after = self.cycles[number][1]
        before = self.cycles[number + 1][0] if number + 1 < len(self.cycles) else after + MINUTE
        return after + (before - after) / 2

    def exceptions(self) -> list[Spell]:
        return [one for one in self.spells if one.cause == "exception" and one.first is not None]

    def touching(self, since: int | None, until: int | None) -> list[Spell]:
        """Those that looks saw, and that held between these two cycles as far as the looks around them can tell."""
        return [
            one
            for one in self.spells
            if one.first is not None
            # It began after the look before the first that saw it.
            and (until is None or max(one.first - 1, 0) <= until)
            and (since is None or one.ended is None or self._first_without(one) > since)
        ]

    def _first_without(self, spell: Spell) -> int:
        assert spell.last is not None
        return spell.last + 1


class Registry(FakeRegistry):
    """With users who run the runs, and versions that people change."""

    changed: dict[tuple[str, str], Shown]

    def as_shown(self, model: str, version: str) -> Shown:
        """What is compared with what was judged."""
        plain = {"version.source": "s3://models", "version.description": "", "run.metrics.validation_accuracy": "0.95"}
        return plain | self.changed.get((model, version), {})

    def _facts(self, request: Request) -> VersionFacts:
        shown = self.as_shown(request.model, request.version)
        tags = {name[13:]: Text.of(value) for name, value in shown.items() if name.startswith("version.tags.")}
        texts = {"source": shown["version.source"], "description": Text.of(shown["version.description"])}
        return replace(super()._facts(request), tags=tags, left_out={}, **texts)

    def _evidence(self, request: Request, now: datetime) -> Evidence:
        evidence = super()._evidence(request, now)
        shown = self.as_shown(request.model, request.version)
        run = evidence.fact(RunFacts)
        # Only what is measured well is approved, and can change afterwards.
        if isinstance(run, RunFacts) and "validation_accuracy" in run.metrics and request.version in "123":
            text = shown["run.metrics.validation_accuracy"]
            reading = replace(run.metrics["validation_accuracy"], text=text, value=float(text))
            evidence = with_changed(evidence, RunFacts, metrics={"validation_accuracy": reading}, left_out={})
        user = RUN_USERS.get(request.model)
        return evidence if user is None else with_changed(evidence, RunFacts, user=Text.of(user))


class Past:
    """Everything that happened, in the registry and on record.

    Args:
        kept: the registry keeps a history of who did what, as the app does; else nothing tells who moved a version.
    """

    def __init__(self, engine: Engine, seed: int, *, kept: bool, steps: int = 70) -> None:
        self.kept = kept
        self.looking = Looking(engine)
        self.engine = engine
        self.clock = self.looking.clock
        self.chance = random.Random(seed)
        # Of its own: what people ask for does not depend on it.
        self.altering = random.Random(seed)
        self.truth = Truth()
        self.registry = self.looking.registry = Registry(keeps_history=kept)
        self.registry.changed = {}
        self.daemon = self.looking.another("test:1")
        self.mode = Mode.ENFORCE
        self.least = ""
        self.approved: set[tuple[str, str, str]] = set()
        self.busy: set[Place] = set()
        self.numbers = dict.fromkeys(MODELS, 3)
        self.asked: list[tuple[Request, bool]] = []
        self.waiting: dict[Place, Request] = {}
        for model in MODELS:
            for number in range(1, 4):
                self.registry.accuracy[model, str(number)] = "0.95"
        self.in_force("0.9")
        # It ends about now, by a clock that nobody has set.
        self.clock.passes(-(steps + 4) * MINUTE - SILENCE)
        self.happens(steps)

    @property
    def url(self) -> str:
        return self.engine.url.render_as_string(hide_password=False)

    def in_force(self, least: str) -> None:
        loaded = parse_policy(POLICY.format(least=least), "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.truth.policies.append((self.clock.now(), loaded.digest))
        self.least = least

    def happens(self, steps: int) -> None:
        self.begins(("churn", "Production"), "1", "baseline")
        self.begins(("fraud", "@champion"), "2", "baseline")
        self.cycle()
        for step in range(steps):
            self.special(step)
            self.clock.passes(MINUTE / 2)
            self.somebody_acts()
            self.somebody_alters()
            self.clock.passes(MINUTE / 2)
            self.cycle()
        for _ in range(3):
            self.clock.passes(MINUTE)
            self.cycle()

    def special(self, step: int) -> None:
        """What happens once, at its time."""
        if step == 15:
            before = self.truth.cycles[-1][1]
            self.clock.passes(SILENCE)
            self.truth.gaps.append((before, self.clock.now() + MINUTE))
        elif step in {25, 30}:
            self.mode = Mode.OBSERVE if step == 25 else Mode.ENFORCE
        elif step in {PAUSED, RESUMED}:
            note_pause(self.engine, PAUSE if step == PAUSED else RESUME, "a freeze", "mia")
            self.truth.pauses += step == PAUSED
            if step == PAUSED:
                self.paused_since = self.clock.now() + MINUTE
            else:
                self.truth.gaps.append((self.paused_since, self.clock.now() + MINUTE))
        elif step == 45:
            self.in_force("0.8")

    # --- cycles -------------------------------------------------------------------------------------------------

    def cycle(self) -> None:
        number, before = len(self.truth.cycles), self.clock.now()
        for spell in self.truth.spells:
            if spell.ended is None:
                spell.first = number if spell.first is None else spell.first
                spell.last = number
        assert self.daemon.run(self.policy, self.mode).unavailable is None
        self.truth.cycles.append((before, self.clock.now()))
        for request, passes in self.asked:
            self.decided(request, passes, before)
        self.asked.clear()
        for spell in self.truth.spells:
            # From the cycle on after the one that moved it, be it also the one that ends it.
            if spell.last == number and spell.cause == "decision":
                spell.sees(number, self.registry.as_shown(spell.model, spell.version))

    def decided(self, request: Request, passes: bool, at: datetime) -> None:
        """What the daemon must have decided in the cycle that is over, and what follows for the target."""
        place, acts = (request.model, str(request.target)), self.mode is Mode.ENFORCE
        effect = ("moved" if passes else "refused") if acts else "nothing"
        verdict = "approve" if passes else "reject"
        asker = request.requester.name
        asked = request.requested_at if asker else None
        what = (request.model, request.version, str(request.target))
        self.truth.judged.append(Judged(*what, verdict, str(self.mode), effect, asker, asked, at, self.least))
        holder = self.truth.holder(place)
        if passes and acts:
            self.approved.add(what)
            if holder is None or holder.version != request.version:
                self.spell(place, request.version, "decision")
                self.truth.spells[-1].judged = self.registry.as_shown(request.model, request.version)
        elif not acts:
            self.registry.withdraw(request)

    # --- people -------------------------------------------------------------------------------------------------

    def somebody_acts(self) -> None:
        places = [(model, target) for model in MODELS for target in TARGETS]
        free = [place for place in places if place not in self.busy]
        place = self.chance.choice(free)
        self.busy = {place}
        quiet = self.mode is Mode.OBSERVE or self.paused
        actions = ["nothing", "move", "take_away"] if quiet else ACTIONS
        if self.mode is Mode.OBSERVE:
            actions = [*actions, "ask", "ask_badly"]
        getattr(self, self.chance.choice(actions))(place)

    @property
    def paused(self) -> bool:
        return PAUSED <= len(self.truth.cycles) - 1 < RESUMED

    def nothing(self, place: Place) -> None:
        pass

    def ask(self, place: Place) -> None:
        self.asked.append((self.filed(place, self.other(place)), True))

    def ask_badly(self, place: Place) -> None:
        """Whether it fails depends on what the policy asks for at that time."""
        self.numbers[place[0]] += 1
        accuracy = self.chance.choice(["0.5", "0.85"])
        request = self.filed(place, str(self.numbers[place[0]]), accuracy)
        self.asked.append((request, float(accuracy) >= float(self.least)))

    def ask_by_typing(self, place: Place) -> None:
        request = self.filed(place, self.other(place), asker=Requester("", Assurance.UNKNOWN))
        self.asked.append((request, True))

    def ask_too_early(self, place: Place) -> None:
        """Nothing is measured yet, so it waits for a person."""
        if place not in self.waiting:
            self.numbers[place[0]] += 1
            self.waiting[place] = self.filed(place, str(self.numbers[place[0]]), "")
            self.truth.waiting.add((place[0], self.waiting[place].version, place[1]))

    def approve(self, place: Place, by: str = "mia") -> None:
        waiting = self.waiting.pop(place, None)
        if waiting is None:
            return
        self.registry.withdraw(waiting)
        self.told(place, waiting.version, by, Resolution.APPROVED, waiting.id)
        self.begins(place, waiting.version, "person" if self.kept else "person_unknown", by if self.kept else "")
        self.approved.add((place[0], waiting.version, place[1]))
        self.truth.waiting.discard((place[0], waiting.version, place[1]))
        if self.kept and by.casefold() == "ada":
            self.truth.own_approvals.append((place[0], waiting.version, place[1]))

    def approve_own(self, place: Place) -> None:
        self.approve(place, "Ada")

    def change(self, place: Place) -> None:
        """As an administrator, whom the registry's history names."""
        if not self.kept:
            return
        version = self.other(place)
        self.told(place, version, "root", Resolution.CHANGED, "")
        self.begins(place, version, "administrator", "root")

    def move(self, place: Place) -> None:
        version = self.other(place)
        before = (place[0], version, place[1]) in self.approved
        self.begins(place, version, "rollback" if before else "exception")

    def somebody_alters(self) -> None:
        """Changes a version that was approved, or puts back what it was."""
        held = [one for one in self.truth.spells if one.cause == "decision" and one.ended is None]
        holder = self.altering.choice([*held, None])
        if holder is None or holder.version not in "123":
            return
        changed = self.registry.changed.setdefault((holder.model, holder.version), {})
        if changed and self.altering.random() < 0.5:
            del changed[self.altering.choice(sorted(changed))]
        else:
            changed[self.altering.choice(ALTERED)] = self.altering.choice(["0.96", "0.97", "0.98"])

    def move_while_asked(self, place: Place) -> None:
        self.ask(place)
        version = self.asked[-1][0].version
        before = (place[0], version, place[1]) in self.approved
        # Where every approval leaves an entry, a move without one is nobody's approval; the daemon's comes afterwards.
        self.begins(place, version, "person_unknown" if not self.kept else "rollback" if before else "exception")
        self.truth.spells[-1].approved_later = True
        self.approved.add((place[0], version, place[1]))

    def take_away(self, place: Place) -> None:
        holder = self.truth.holder(place)
        if holder is not None:
            del self.registry.holders[place[0], Target.parse(place[1])]
            holder.ended = self.clock.now()

    def accept(self, place: Place) -> None:
        """Somebody accepts a bypass that looks have found already."""
        number = len(self.truth.cycles)
        found = [one for one in self.truth.spells if one.cause == "exception" and not one.accepted_by and one.first]
        known = [one for one in found if one.first is not None and one.first + 3 < number]
        if known:
            query = "SELECT tenure_id FROM tenures WHERE model = '{}' AND version = '{}' AND target = '{}'"
            ids = [row[0] for row in self.looking.rows(query.format(*known[0].what) + " ORDER BY tenure_id")]
            same = [one for one in self.truth.spells if one.what == known[0].what and one.first is not None]
            acknowledge(self.engine, ids[same.index(known[0])], "ticket 71", "mia")
            known[0].accepted_by = "mia"

    # --- how it is done -----------------------------------------------------------------------------------------

    def other(self, place: Place) -> str:
        holder = self.truth.holder(place)
        waiting = self.waiting.get(place)
        held = {holder.version if holder else "", waiting.version if waiting else ""}
        return self.chance.choice([number for number in "123" if number not in held])

    def filed(self, place: Place, version: str, accuracy: str = "0.95", asker: Requester | None = None) -> Request:
        request = self.registry.file(place[0], version, place[1], accuracy=accuracy)
        # No two requests were open for the same time.
        before = timedelta(seconds=self.chance.choice([5, 60, 600, 7200]) + 37 * self.registry.filed)
        asked_by = asker or request.requester
        request = replace(request, requested_at=self.clock.now() - before, requester=asked_by)
        self.registry.requests[request.model, request.version, request.target] = request
        return request

    def told(self, place: Place, version: str, by: str, what: Resolution, request_id: str) -> None:
        who = Requester(by, Assurance.AUTHENTICATED)
        number = len(self.registry.history) + 1
        entry = Resolved(number, what, place[0], version, place[1], who, "so", self.clock.now(), request_id, None)
        self.registry.history.append(entry)

    def begins(self, place: Place, version: str, cause: str, person: str = "") -> None:
        self.registry.holders[place[0], Target.parse(place[1])] = version
        self.spell(place, version, cause, person)

    def spell(self, place: Place, version: str, cause: str, person: str = "") -> None:
        now, holder = self.clock.now(), self.truth.holder(place)
        if holder is not None:
            holder.ended = now
        self.truth.spells.append(Spell(place[0], version, place[1], cause, now, person))

    def periods(self, many: int = 6) -> Iterator[tuple[int | None, int | None]]:
        """Pairs of cycles after which a period begins and ends; None: it has no bound."""
        last = len(self.truth.cycles) - 2
        yield None, None
        yield None, last // 2
        yield last // 2, None
        for _ in range(many):
            since = self.chance.randrange(last)
            yield since, self.chance.randrange(since + 1, last + 1)


ALTERED: Final = ("version.source", "version.description", "version.tags.owner", "run.metrics.validation_accuracy")
ACTIONS: Final = [
    "nothing", "ask", "ask", "ask_badly", "ask_by_typing",
    "ask_too_early", "ask_too_early", "approve", "approve_own",
    "change", "move", "move", "move_while_asked", "take_away", "accept",
]  # fmt: skip
