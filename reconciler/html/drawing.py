"""From a chart to SVG in a page: without script, style or address, and scaled by the page."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from reconciler.domain.text import visible
from reconciler.html.palette import GRID, HATCHED, INK, QUIET

if TYPE_CHECKING:
    import altair

K = TypeVar("K", bound=Hashable)
_FONT: Final = "Helvetica Neue, Arial, Liberation Sans, sans-serif"
_AXIS: Final = {
    "labelColor": QUIET, "titleColor": QUIET, "domainColor": GRID, "tickColor": GRID, "gridColor": GRID,
    "labelFont": _FONT, "titleFont": _FONT, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
    "labelLimit": 220,
}  # fmt: skip
_CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "view": {"stroke": None},
    "axis": _AXIS,
    "text": {"font": _FONT, "fontSize": 11, "color": INK},
    # What a chart says, it says in the page: each has a sentence and a table.
    "aria": False,
}
_PADDING: Final = {"left": 12, "right": 20, "top": 4, "bottom": 4}
# Fonts of a browser may be wider than those by which labels were measured, which names show most.
_BESIDE_NAMES: Final = _PADDING | {"left": 40, "bottom": 14}
# A wider chart fills the page, and scrolls on a narrow screen.
_BROAD: Final = 700
_TAG: Final = re.compile("<[^>]*>")
# To who hears the page a chart is one image with a text, and not a hundred marks without any.
_ROLES: Final = re.compile(' (?:role|aria-[a-z]+)="[^"]*"')
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Drawing:
    """`svg` is markup, whose texts are escaped."""

    svg: str


def draw(chart: altair.TopLevelMixin, title: str, *, named: bool = False) -> Drawing:
    """The chart, whose one text for who cannot see it is `title`. `named`: names of strangers stand along its axes."""
    import vl_convert

    specification = chart.to_dict() | {"config": _CONFIG | {"padding": _BESIDE_NAMES if named else _PADDING}}
    svg = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    return Drawing(_for_a_page(svg, title))


def _for_a_page(svg: str, title: str) -> str:
    from markupsafe import escape

    head, _, body = svg.partition(">")
    size = dict(part.split("=", 1) for part in head.replace('viewBox="0 0 ', 'box="').split('" ') if "=" in part)
    width, height = (round(float(size[name].strip('"'))) for name in ("width", "height"))
    hatch = f"hatch-{next(_ids)}"
    body = _TAG.sub(lambda tag: _ROLES.sub("", tag[0]), body)
    body = body.replace(f'fill="{HATCHED}"', f'fill="url(#{hatch})" class="hatched"')
    kind = "chart broad" if width > _BROAD else "chart"
    opening = f'<svg class="{kind}" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return f"{opening}<title>{escape(title)}</title>{_hatch(hatch)}{body}"


def _hatch(id: str) -> str:
    """A pattern by which a bypass is told from the rest without any colour."""
    return (
        f'<defs><pattern id="{id}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="6" height="6" class="hatch-ground" fill="#fbe3d3"/>'
        '<rect width="3" height="6" class="hatch-line" fill="#d55e00"/></pattern></defs>'
    )


def labels(names: Iterable[K], text: Callable[[K], str]) -> dict[K, str]:
    """A label for each, and no two the same, though names may be so where they are cut."""
    given: Counter[str] = Counter()
    found = {}
    for name in dict.fromkeys(names):
        label = text(name)
        given[label] += 1
        found[name] = label if given[label] == 1 else f"{label} ({given[label]})"
    return found


def short(name: str, most: int = 34) -> str:
    """A name as a label: visible, and no longer than there is room for. Names of a family differ at their ends."""
    shown = visible(name)
    end = most // 3
    return shown if len(shown) <= most else f"{shown[: most - end - 1]}…{shown[-end:]}"
