"""window: only inside hours, and outside freezes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from reconciler.domain.checks.base import Check, Finding
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.fields import MomentField, TextField, Value
from reconciler.domain.mistakes import Mistake
from reconciler.domain.times import iso

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# How far ahead it is looked for when it opens.
_AHEAD = 400


class WindowCode(FindingCode):
    """It finds nothing but `ok` and `outside_window`, which is an abstention."""


class Freeze(Value):
    starts: MomentField = Field(alias="from", description="The first moment of the freeze.")
    until: MomentField = Field(description="The first moment after it.")

    def mistakes(self) -> Iterator[Mistake]:
        if self.starts >= self.until:
            yield Mistake("from must be before until")


class WindowTerms(Value):
    zone: TextField = Field("UTC", description="Time zone of `hours` and `days`, such as Europe/Berlin.")
    days: tuple[Day, ...] = Field(
        _DAYS, min_length=1, description="Days of the week: mon, tue, wed, thu, fri, sat, sun."
    )
    hours: TextField = Field("00:00-24:00", description="From and to, within a day.", examples=["09:00-17:00"])
    freezes: tuple[Freeze, ...] = Field(
        (), description="Periods, each with `from` and `until`, in which nothing passes."
    )

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"{zone!r} is not a time zone of this host: use for example Europe/Berlin or UTC"
            ) from None
        return zone

    @field_validator("hours")
    @classmethod
    def _is_a_span(cls, hours: str) -> str:
        opens, closes = _span(hours)
        if opens >= closes:
            raise ValueError(f"{hours!r}: it must open before it closes; a window over midnight is two alternatives")
        return hours


class WindowCheck(Check):
    """The decision is made inside a window of time."""

    kind: ClassVar[str] = "window"
    of_holders: ClassVar[bool] = False
    codes: ClassVar[type[FindingCode]] = WindowCode
    remedy: ClassVar[str] = "wait until the window opens"
    example: ClassVar[str] = 'window: {zone: Europe/Berlin, days: [mon, tue, wed, thu], hours: "09:00-16:00"}'
    of: ClassVar[frozenset[str]] = frozenset({"model", "prompt"})
    notes: ClassVar[str] = """\
Outside the window, the verdict is an abstention that says when the window opens, and the request is judged again. A
request that fails another check is rejected all the same. `freezes` without an offset are in UTC. The zone's rules are
those of the host."""

    window: WindowTerms

    @property
    def title(self) -> str:
        return "window"

    @property
    def expected(self) -> str:
        terms = self.window
        days = "" if set(terms.days) == set(_DAYS) else f" on {', '.join(terms.days)}"
        return f"{terms.hours} {terms.zone}{days}" + (", outside freezes" if terms.freezes else "")

    def needs(self) -> Needs:
        return Needs()

    def doubts(self) -> Iterator[str]:
        if self.window == WindowTerms():
            yield "is always open: set days, hours or freezes"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        if self._is_open(now):
            return Finding(CommonCode.OK, f"judged at {iso(now)}", source="clock")
        opens = self._opens(now)
        when = f"it opens at {iso(opens)}" if opens else f"it does not open within {_AHEAD} days"
        return Finding(CommonCode.OUTSIDE_WINDOW, f"judged at {iso(now)}; {when}", source="clock", unreadable=True)

    def _is_open(self, at: datetime) -> bool:
        opens, closes = _span(self.window.hours)
        local = at.astimezone(ZoneInfo(self.window.zone))
        minutes = local.hour * 60 + local.minute
        frozen = any(freeze.starts <= at < freeze.until for freeze in self.window.freezes)
        return _DAYS[local.weekday()] in self.window.days and opens <= minutes < closes and not frozen

    def _opens(self, now: datetime) -> datetime | None:
        """The first moment from now on at which it is open: one when a day's window begins, or a freeze ends."""
        opens, _ = _span(self.window.hours)
        zone = ZoneInfo(self.window.zone)
        today = now.astimezone(zone).date()
        begins = time(opens // 60, opens % 60)
        moments = [freeze.until for freeze in self.window.freezes]
        for ahead in range(min(_AHEAD, (date.max - today).days)):
            moments += _moments(datetime.combine(today + timedelta(days=ahead), begins, zone))
        return next((at for at in sorted(moments) if at > now and self._is_open(at)), None)


def _moments(begins: datetime) -> Iterator[datetime]:
    """When a clock shows this: twice where it is set back; where it is set forward over it, when that is done."""
    at, last = sorted((begins.astimezone(UTC), begins.replace(fold=1).astimezone(UTC)))
    while at.astimezone(begins.tzinfo).replace(tzinfo=None) < begins.replace(tzinfo=None):
        at += timedelta(minutes=1)
    yield from (at, last)


def _span(hours: str) -> tuple[int, int]:
    """Minutes of a day. Raises ValueError."""
    parts = hours.split("-")
    if len(parts) != 2:
        raise ValueError(f"{hours!r} are not hours: use for example 09:00-17:00")
    return _minutes(parts[0], hours), _minutes(parts[1], hours)


def _minutes(text: str, hours: str) -> int:
    hour, colon, minute = text.strip().partition(":")
    digits = (hour + minute).isascii() and hour.isdigit() and minute.isdigit() and len(minute) == 2
    total = int(hour) * 60 + int(minute) if digits and colon and len(hour) <= 2 else 24 * 60 + 1
    if total > 24 * 60 or (digits and int(minute) > 59):
        raise ValueError(f"{hours!r} are not hours: use for example 09:00-17:00")
    return total
