"""requester: who may ask, and how sure it is who did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, RunFacts, Unreadable
from reconciler.domain.evidence.requester_facts import RequesterFacts
from reconciler.domain.evidence.withheld import EXCLUDED, Withheld
from reconciler.domain.fields import GlobField, Value
from reconciler.domain.mistakes import Mistake
from reconciler.domain.request import Assurance
from reconciler.domain.scope import matches_any
from reconciler.domain.text import quoted

_USER = "mlflow.user"
_SURE = (Assurance.UNKNOWN, Assurance.ASSERTED, Assurance.AUTHENTICATED)


class RequesterCode(FindingCode):
    REQUESTER_NOT_ALLOWED = "requester_not_allowed", "the requester is not among those in `allow`"
    REQUESTER_DENIED = "requester_denied", "the requester is among those in `deny`"
    REQUESTER_UNSURE = "requester_unsure", "the requester's name is less reliable than `assurance` demands"
    SAME_PERSON = "same_person", "the requester is the person who ran the run"
    PERSON_UNKNOWN = (
        "person_unknown",
        "`people` does not say whose login it is, so it may be the same person",
    )


class RequesterTerms(Value):
    allow: tuple[GlobField, ...] | None = Field(
        None, min_length=1, description="Globs over the names of people who may ask."
    )
    deny: tuple[GlobField, ...] = Field((), description="Globs over the names of people who may not ask.")
    assurance: Literal["asserted", "authenticated"] = Field(
        "authenticated",
        description="`authenticated`: the server vouches for the name; `asserted`: the request says it.",
    )
    not_run_user: bool = Field(False, strict=True, description="The requester is not the person who ran the run.")

    def mistakes(self) -> Iterator[Mistake]:
        if self.assurance == "asserted" and self.allow is None and not self.deny and not self.not_run_user:
            yield Mistake("asks nothing: set allow, deny, not_run_user, or assurance: authenticated", lacks=True)


class RequesterCheck(Check):
    """The requester is allowed to ask."""

    kind: ClassVar[str] = "requester"
    codes: ClassVar[type[FindingCode]] = RequesterCode
    remedy: ClassVar[str] = "have the request filed by somebody who may"
    example: ClassVar[str] = 'requester: {allow: ["ml-*"], deny: [ml-intern], not_run_user: true}'
    of: ClassVar[frozenset[str]] = frozenset({"model", "prompt"})
    notes: ClassVar[str] = """\
`assurance` is `authenticated` unless the policy says otherwise. Only servers with users and passwords vouch for names.
Names are compared as written, including case. Before there is a request, `explain --as NAME` judges as
if NAME had asked.

`not_run_user` compares people, not logins: the policy's `people` lists the logins of each person on the registry, the
cluster and the operating system. Somebody who is not listed never counts as another person, and no login may belong to
two people. The run's user is the tag `mlflow.user`, which whoever logs the run may write."""

    requester: RequesterTerms

    @property
    def title(self) -> str:
        return "requester"

    @property
    def expected(self) -> str:
        terms = self.requester
        words: list[str] = [terms.assurance]
        words += [f"one of {', '.join(terms.allow)}"] if terms.allow is not None else []
        words += [f"none of {', '.join(terms.deny)}"] if terms.deny else []
        return ", ".join(words + ["not the run's user"] * terms.not_run_user)

    def needs(self) -> Needs:
        return Needs(run=self.requester.not_run_user, run_user=self.requester.not_run_user)

    def doubts(self) -> Iterator[str]:
        if self.requester.assurance == "asserted" and (self.requester.allow is not None or self.requester.deny):
            yield "anybody may write another name into a request: use assurance: authenticated"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        asker = evidence.fact(RequesterFacts)
        if not isinstance(asker, RequesterFacts):
            return nothing_to_judge(asker)
        terms, observed = self.requester, f"{quoted(asker.name)}, {asker.assurance}"
        if not asker.name or _SURE.index(asker.assurance) < _SURE.index(Assurance(terms.assurance)):
            return Finding(RequesterCode.REQUESTER_UNSURE, observed, source="request")
        if terms.allow is not None and not matches_any(asker.name, terms.allow):
            return Finding(RequesterCode.REQUESTER_NOT_ALLOWED, observed, source="request")
        if matches_any(asker.name, terms.deny):
            return Finding(RequesterCode.REQUESTER_DENIED, observed, source="request")
        if terms.not_run_user:
            return self._apart(asker, evidence, observed)
        return Finding(CommonCode.OK, observed, source="request")

    @staticmethod
    def _apart(asker: RequesterFacts, evidence: Evidence, observed: str) -> Finding:
        """Two persons, and not only two logins."""
        if matches_any(_USER, evidence.excluded_names):
            raise Withheld(f"{RunFacts.key}.user", EXCLUDED)
        run = evidence.fact(RunFacts)
        if isinstance(run, Absent | Unreadable):
            return nothing_to_judge(run)
        user = run.user.head if run.user is not None and run.user.whole else ""
        told = f"{observed}; the run's user is {quoted(user) if user else 'not known'}"
        source = f"request; run {run.run_id}"
        if user and user == asker.name:
            return Finding(RequesterCode.SAME_PERSON, told, source=source)
        unknown = [login for login in (asker.name, user) if not login or login not in asker.people]
        if unknown:
            names = " and ".join(quoted(login) if login else "the run's user" for login in unknown)
            return Finding(RequesterCode.PERSON_UNKNOWN, f"{told}; not in people: {names}", source=source)
        same = asker.people[asker.name] == asker.people[user]
        return Finding(RequesterCode.SAME_PERSON if same else CommonCode.OK, told, source=source)
