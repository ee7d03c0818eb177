"""The charts, each from a few rows of `reconciler.audit.overview`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import altair as alt

from reconciler.audit.overview.decided import Failing, Measured, OnDay
from reconciler.audit.overview.held import Held, Lane, Lanes
from reconciler.audit.overview.ran import Band, Part
from reconciler.html.drawing import Drawing, draw, labels, short
from reconciler.html.palette import BLUE, CAUSES, DOINGS, GREEN, GREY, HATCHED, INK, ORANGE, PURPLE, QUIET, VERDICTS

WIDE: Final = 1040
HALF: Final = 400
_LANE, _ROW = 22, 20
# Pixels of the shortest bar: its edge, which is white, takes one.
_SEEN: Final = 5
_MOST_OF_A_WEEK: Final = timedelta(days=6, hours=6)

_FORMS: Final = (
    (timedelta(days=3), "%d %b"),
    (timedelta(days=1), "%d %b %H:%M"),
    (timedelta(minutes=8), "%H:%M"),
)

# Dark where the page is dark, too: what is behind it stays pale. White is read on these only.
_ON_PALE: Final = "#2b2118"
_DARK: Final = (BLUE, GREEN, PURPLE)

Span = tuple[datetime, datetime]
Rows = list[dict[str, Any]]


# --- what they share -------------------------------------------------------------------------------------------


def _data(rows: Rows) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _time(field: str, span: Span) -> alt.X:
    """An axis of time in UTC over the whole period, whatever of it has marks."""
    began, ended = span
    length = ended - began
    form = next((form for least, form in _FORMS if length > least), "%H:%M:%S")
    scale = alt.Scale(type="utc", domain=[_millis(began), _millis(ended)], nice=False)
    axis = alt.Axis(format=form, tickCount=8, title=None, labelOverlap=True, grid=True)
    return alt.X(f"{field}:T", scale=scale, axis=axis)


def _millis(moment: datetime) -> float:
    return moment.timestamp() * 1000


def _bounds(began_at: datetime, ended_at: datetime, span: Span) -> dict[str, float]:
    """Where a bar begins and ends within the period: however short its time was, it can be seen."""
    least = (span[1] - span[0]) * _SEEN / (WIDE - 200)
    began = max(min(began_at, span[1] - least), span[0])
    return {"began": _millis(began), "ended": _millis(max(min(ended_at, span[1]), began + least))}


def _colour(field: str = "colour") -> alt.Color:
    return alt.Color(f"{field}:N", scale=None, legend=None)


def _names(field: str, order: Sequence[str], **axis: Any) -> alt.Y:
    return alt.Y(f"{field}:N", sort=list(order), axis=alt.Axis(title=None, ticks=False, domain=False, **axis))


# --- what held what --------------------------------------------------------------------------------------------


def lane_name(lane: Lane, several: bool) -> str:
    """Which target of which model; of several registries, of which."""
    host = lane.registry.rpartition("://")[2]
    where = f" ({short(f'{host} {lane.workspace}'.strip(), 20)})" if several else ""
    return f"{short(lane.model, 20)} → {short(lane.target, 16)}{where}"


def lanes(found: Lanes, span: Span, title: str) -> Drawing:
    several = len({lane[:2] for lane in found.lanes}) > 1
    names = labels(found.lanes, lambda lane: lane_name(lane, several))
    rows: Rows = [
        {
            "lane": names[held.lane],
            **_bounds(held.first_seen_with, held.first_seen_without or span[1], span),
            "colour": CAUSES[held.counted_as][0],
            "version": _version(held, span),
            "ink": "#ffffff" if CAUSES[held.counted_as][0] in _DARK else _ON_PALE,
        }
        for held in reversed(found.held)
        if held.first_seen_with < span[1]
    ]
    # Short ones over long ones, and of two as short a bypass: none is hidden by what came right after it.
    rows.sort(key=lambda row: (row["began"] - row["ended"], row["colour"] == HATCHED))
    x, y = _time("began", span), _names("lane", list(names.values()))
    bars = alt.Chart(_data(rows)).mark_bar(height=14, stroke="#ffffff", strokeWidth=1)
    bars = bars.encode(x=x, x2="ended", y=y, color=_colour())
    words = alt.Chart(_data([row for row in rows if row["version"]])).mark_text(align="left", dx=4)
    chart = bars + words.encode(x=x, y=y, text="version:N", color=_colour("ink"))
    return draw(chart.properties(width=WIDE - 200, height=_LANE * max(len(found.lanes), 1)), title, named=True)


def _version(held: Held, span: Span) -> str:
    """The version as a label; none on a hatched bar, where it could not be read."""
    length = min(held.first_seen_without or span[1], span[1]) - max(held.first_seen_with, span[0])
    return "" if CAUSES[held.counted_as][0] == HATCHED else _label(f"v{short(held.version, 12)}", length, span)


def _label(words: str, length: timedelta, span: Span) -> str:
    """The words, where the bar has room for them."""
    room = length / (span[1] - span[0]) * (WIDE - 200) - 8
    return words if room > 7 * len(words) else ""


# --- how the control ran ---------------------------------------------------------------------------------------


def strip(parts: Sequence[Part], span: Span, title: str) -> Drawing:
    """A column a day, filled from below by what the daemons did for how much of it."""
    rows: Rows = []
    places = _places(parts)
    for part in parts:
        place, height = places[part.registry, part.workspace], 0.0
        for doing, (colour, _) in DOINGS.items():
            share = part.shares[doing]  # type: ignore[index]
            if share > 0:
                bounds = {"low": height, "high": height + share, "colour": colour, "place": place}
                rows.append({"began": _millis(part.began_at), "ended": _millis(part.ended_at)} | bounds)
            height += share
    y = alt.Y("low:Q", axis=None, scale=alt.Scale(domain=[0, 1]))
    bars = alt.Chart(_data(rows)).mark_bar(stroke="#ffffff", strokeWidth=0.5)
    bars = bars.encode(x=_time("began", span), x2="ended", y=y, y2="high", color=_colour())
    several = len(places) > 1
    bars = bars.properties(width=WIDE - 40, height=30 if several else 44)
    if several:
        header = alt.Header(labelOrient="top", labelAnchor="start", title=None, labelColor=QUIET)
        return draw(bars.facet(row=alt.Row("place:N", header=header), spacing=8), title)
    return draw(bars, title)


def _places(rows: Iterable[Part | Band]) -> dict[tuple[str, str], str]:
    """A label for each registry and workspace."""
    return labels(((row.registry, row.workspace) for row in rows), lambda place: short(" ".join(place).strip()))


def policies(bands: Sequence[Band], span: Span, title: str) -> Drawing:
    shades = dict(zip(dict.fromkeys(band.policy_digest for band in bands), _SHADES * len(bands), strict=False))
    places = _places(bands)
    rows: Rows = [
        {
            "place": places[band.registry, band.workspace],
            **_bounds(band.began_at, band.ended_at, span),
            "colour": shades[band.policy_digest],
            "name": _label(band.policy_digest[:12], band.ended_at - max(band.began_at, span[0]), span),
        }
        for band in bands
    ]
    x, y = _time("began", span), _names("place", list(places.values()), labels=len(places) > 1)
    bars = alt.Chart(_data(rows)).mark_bar(height=22, stroke="#ffffff", strokeWidth=2)
    words = alt.Chart(_data([row for row in rows if row["name"]])).mark_text(align="left", dx=6, color="#ffffff")
    chart = bars.encode(x=x, x2="ended", y=y, color=_colour()) + words.encode(x=x, y=y, text="name:N")
    several = len(places) > 1
    return draw(chart.properties(width=WIDE - (240 if several else 40), height=34 * len(places)), title, named=several)


_SHADES: Final = ["#3b5b8c", "#6a4c7d", "#2f6f6a", "#7a5a33", "#5b6773"]


# --- decisions -------------------------------------------------------------------------------------------------


def week_of(day: date) -> date:
    """The Monday with which its week begins."""
    return day - timedelta(days=day.weekday())


def weeks(days: Iterable[OnDay], title: str) -> Drawing:
    sums: Counter[tuple[date, str]] = Counter()
    for one in days:
        sums[week_of(one.day), one.verdict] += one.decisions
    rows: Rows = []
    mondays = sorted({week for week, _ in sums})
    for week in mondays:
        began, height = datetime.combine(week, time(), UTC), 0
        for verdict, (colour, _) in VERDICTS.items():
            many = sums[week, verdict]
            bounds = {"low": height, "high": height + many, "colour": colour}
            rows.append({"began": _millis(began), "ended": _millis(began + _MOST_OF_A_WEEK)} | bounds)
            height += many
    # A mark is where a week begins.
    marked = [_millis(datetime.combine(week, time(), UTC)) for week in mondays[:: -(-len(mondays) // 6)]]
    axis = alt.Axis(format="%d %b", values=marked, title=None, labelOverlap=True, grid=False)
    x = alt.X("began:T", scale=alt.Scale(type="utc"), axis=axis)
    y = alt.Y("low:Q", title=None, axis=alt.Axis(tickMinStep=1, tickCount=4, format=",d"))
    bars = alt.Chart(_data(rows)).mark_bar().encode(x=x, x2="ended", y=y, y2="high", color=_colour())
    return draw(bars.properties(width=HALF - 40, height=150), title)


def dots(metrics: Sequence[Measured], span: Span, title: str) -> Drawing:
    """A row of dots a metric, with a line at each bound; what came near it is a triangle, what failed is open."""
    charts = [_dots_of(metric, span) for metric in metrics]
    return draw(alt.vconcat(*charts, spacing=14), title)


def _dots_of(metric: Measured, span: Span) -> alt.LayerChart:
    rows: Rows = [
        {
            "at": _millis(dot.decided_at),
            "value": dot.value,
            "colour": BLUE if dot.passed else ORANGE,
            "shape": "triangle-up" if dot.near else "circle" if dot.passed else "cross",
        }
        for dot in metric.dots
    ]
    bounds: Rows = [{"bound": bound} for bound in metric.bounds if bound is not None]
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))
    marks = alt.Chart(_data(rows)).mark_point(size=36, strokeWidth=1.2, filled=True, opacity=0.85)
    shape = alt.Shape("shape:N", scale=None, legend=None)
    lines = alt.Chart(_data(bounds)).mark_rule(color=INK, strokeDash=[5, 3], strokeWidth=1.2).encode(y="bound:Q")
    layers = lines + marks.encode(x=_time("at", span), y=y, color=_colour(), shape=shape)
    words = f"{short(metric.check, 40)}: {short(metric.expected, 50)}"
    heading = alt.TitleParams(words, anchor="start", fontSize=12, fontWeight="normal", color=INK)
    titled: alt.LayerChart = layers.properties(width=WIDE - 80, height=120, title=heading)
    return titled


_MOST_CHECKS, _MOST_MODELS = 8, 8


def failing_cells(found: Sequence[Failing]) -> tuple[list[str], list[str], dict[tuple[str, str], int]]:
    """The checks and the models with most failures, and how many each pair has."""
    by_check, by_model = Counter[str](), Counter[str]()
    for one in found:
        by_check[one.check] += one.decisions
        by_model[one.model] += one.decisions
    checks = [name for name, _ in by_check.most_common(_MOST_CHECKS)]
    models = [name for name, _ in by_model.most_common(_MOST_MODELS)]
    cells = {(one.check, one.model): one.decisions for one in found if one.check in checks and one.model in models}
    return checks, models, cells


def fails(found: Sequence[Failing], title: str) -> Drawing:
    checks, models, cells = failing_cells(found)
    most = max(cells.values(), default=1)
    across = labels(models, lambda name: short(name, 18))
    down = labels(checks, lambda name: short(name, 26))
    rows: Rows = [
        {
            "check": down[check],
            "model": across[model],
            "many": many,
            "ink": "#ffffff" if many > most / 2 else _ON_PALE,
        }
        for (check, model), many in cells.items()
    ]
    x = alt.X(
        "model:N",
        sort=list(across.values()),
        axis=alt.Axis(title=None, labelAngle=-40, ticks=False, domain=False, orient="bottom"),
    )
    y = _names("check", list(down.values()))
    shade = alt.Color("many:Q", legend=None, scale=alt.Scale(range=["#fdf0d5", "#b4560b"], domain=[0, most]))
    base = alt.Chart(_data(rows)).encode(x=x, y=y)
    words = base.mark_text().encode(text=alt.Text("many:Q", format=",d"), color=_colour("ink"))
    chart = base.mark_rect(stroke="#ffffff", strokeWidth=2).encode(color=shade) + words
    sized = chart.resolve_scale(color="independent")
    return draw(sized.properties(width=max(32 * len(models), 40), height=30 * max(len(checks), 1)), title, named=True)


def waits(found: Mapping[str, int], title: str) -> Drawing:
    rows: Rows = [{"class": name, "many": many} for name, many in found.items()]
    y = _names("class", list(found))
    x = alt.X("many:Q", axis=None)
    base = alt.Chart(_data(rows)).encode(x=x, y=y)
    words = base.mark_text(align="left", dx=4).encode(text=alt.Text("many:Q", format=",d"))
    return draw((base.mark_bar(color=BLUE, height=14) + words).properties(width=HALF - 130, height=_ROW * 8), title)


def people(found: Mapping[str, int], title: str) -> Drawing:
    """How often each person did what is asked about."""
    who = labels(found, lambda name: short(name or "not known", 26))
    rows: Rows = [{"who": who[name], "many": many, "colour": GREEN if name else GREY} for name, many in found.items()]
    base = alt.Chart(_data(rows)).encode(x=alt.X("many:Q", axis=None), y=_names("who", list(who.values())))
    words = base.mark_text(align="left", dx=4).encode(text=alt.Text("many:Q", format=",d"))
    bars = base.mark_bar(height=14).encode(color=_colour())
    sized = (bars + words).properties(width=HALF - 130, height=_ROW * max(len(found), 1))
    return draw(sized, title, named=True)
