"""A roofline as an SVG picture: kernels under the roofs of the machine, on light and dark ground.

In: a profiled `Measurement`. Out: the text of an SVG file.

    y: GFLOP/s    ______________  multiply-adds        a dot per kernel: its area is its time, its
                 / / / /                               number is explained on the right
                / / / /  L1 L2 L3 memory
    x: operations per byte
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

from stepwell.bench.session import Measurement
from stepwell.bench.tables import KernelGroup, kernel_groups, number_text, seconds_text

WIDTH, HEIGHT = 1100, 620
LEFT, RIGHT, TOP, BOTTOM = 80, 720, 60, 560  # of the plot
LISTED = 22  # kernels explained on the right

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #222 }
.small { font-size: 11px; fill: #666 }
.title { font-size: 16px; font-weight: 600 }
.number { font-size: 10px; text-anchor: middle; fill: #fff; font-weight: 600 }
.ground { fill: #fff }
.grid { stroke: #ddd; stroke-width: 1 }
.roof { stroke: #888; stroke-width: 1.5; fill: none }
.top { stroke: #222; stroke-width: 2 }
.dot { stroke: #fff; fill-opacity: 0.85 }
.compute { fill: #1b6ac9 } .cache { fill: #1f8f5f } .memory { fill: #c0392b }
.other { fill: #8e6bbf }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .small { fill: #999 } .number { fill: #111 }
  .ground { fill: #16181c } .grid { stroke: #333 } .roof { stroke: #888 } .top { stroke: #ddd }
  .dot { stroke: #16181c }
  .compute { fill: #6db1ff } .cache { fill: #62d0a0 } .memory { fill: #ff8a7a }
  .other { fill: #c3a6f0 }
}"""


@dataclass(frozen=True)
class _Axes:
    """Logarithmic axes: decades of operations per byte, and of GFLOP/s."""

    x: tuple[int, int]
    y: tuple[int, int]

    def at(self, intensity: float, rate: float) -> tuple[float, float]:
        """The place of a point in the picture."""
        across = (math.log10(intensity) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(rate) - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)


def roofline_svg(measurement: Measurement) -> str:
    """The picture."""
    groups = kernel_groups(measurement.kernels)
    dots = [group for group in groups if group.flops and group.bytes and group.seconds > 0]
    axes = _axes(measurement, dots)
    threads = f"{measurement.threads} thread{'s' if measurement.threads > 1 else ''}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 32, f"{measurement.model}, {threads}", "title"),
        *_grid(axes),
        *_roofs(axes, measurement),
        *_dots(axes, dots),
        *_legend(groups, dots),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _axes(measurement: Measurement, dots: list[KernelGroup]) -> _Axes:
    intensities = [group.flops / group.bytes for group in dots] + [0.5, 20]
    top = measurement.ceilings.flops / 1e9
    rates = [group.flops / group.seconds / 1e9 for group in dots] + [top / 50, top * 1.2]
    return _Axes(_decades(intensities), _decades(rates))


def _decades(values: list[float]) -> tuple[int, int]:
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))


def _grid(axes: _Axes) -> list[str]:
    parts = []
    for decade in range(axes.x[0], axes.x[1] + 1):
        x, _ = axes.at(10.0**decade, 10.0 ** axes.y[0])
        parts.append(_line((x, TOP), (x, BOTTOM), "grid"))
        parts.append(_text(x, BOTTOM + 18, f"{10.0**decade:g}", "small", "middle"))
    for decade in range(axes.y[0], axes.y[1] + 1):
        _, y = axes.at(10.0 ** axes.x[0], 10.0**decade)
        parts.append(_line((LEFT, y), (RIGHT, y), "grid"))
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**decade:g}", "small", "end"))
    parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 40, "operations per byte", "", "middle"))
    parts.append(_text(LEFT - 60, TOP - 10, "GFLOP/s"))
    return parts


def _roofs(axes: _Axes, measurement: Measurement) -> list[str]:
    """The multiply-add rate, and under it a slope for each level's bandwidth."""
    top = measurement.ceilings.flops / 1e9
    left, right = 10.0 ** axes.x[0], 10.0 ** axes.x[1]
    levels = list(measurement.ceilings.levels.values())
    ridge = top / (levels[0].read / 1e9)
    parts = [_line(axes.at(max(left, ridge), top), axes.at(right, top), "roof top")]
    label = f"multiply-adds {number_text(top)} GFLOP/s"
    x, y = axes.at(right, top)
    parts.append(_text(x - 4, y - 6, label, "small", "end"))
    for level in levels:
        rate = level.read / 1e9
        start = max(left, 10.0 ** axes.y[0] / rate)
        low, high = axes.at(start, start * rate), axes.at(top / rate, top)
        parts.append(_line(low, high, "roof"))
        name = f"{level.name} {number_text(rate)} GB/s"
        parts.append(_slanted(low, high, name))
    return parts


def _dots(axes: _Axes, dots: list[KernelGroup]) -> list[str]:
    total = sum(group.seconds for group in dots)
    parts = []
    for number, group in reversed(list(enumerate(dots, start=1))):
        rate = group.flops / group.seconds / 1e9
        x, y = axes.at(group.flops / group.bytes, rate)
        radius = max(8.0, 34 * math.sqrt(group.seconds / total))
        parts.append(
            f'<circle class="dot {_kind(group)}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{escape(_explained(group))}</title></circle>"
        )
        parts.append(_text(x, y + 4, str(number), "number"))
    return parts


def _legend(groups: list[KernelGroup], dots: list[KernelGroup]) -> list[str]:
    parts = [_text(RIGHT + 40, TOP - 10, "kernels, by time")]
    y = TOP + 10.0
    for number, group in enumerate(dots[:LISTED], start=1):
        parts.append(f'<circle class="{_kind(group)}" cx="{RIGHT + 48}" cy="{y - 4:.0f}" r="8"/>')
        parts.append(_text(RIGHT + 48, y, str(number), "number"))
        parts.append(_text(RIGHT + 64, y, _explained(group), "small"))
        y += 20
    hidden = len(groups) - min(len(dots), LISTED)
    if hidden:
        parts.append(
            _text(RIGHT + 64, y, f"and {hidden} more, short or without arithmetic", "small")
        )
    return parts


def _explained(group: KernelGroup) -> str:
    calls = f" ×{group.calls}" if group.calls > 1 else ""
    name = group.name if len(group.name) < 28 else group.name[:26] + "…"
    time = seconds_text(group.seconds)
    return f"{name}{calls}: {time}, {group.share:.0%} of {group.bound}"


def _kind(group: KernelGroup) -> str:
    if group.bound in ("compute", "memory"):
        return group.bound
    return "cache" if group.bound.startswith("L") else "other"


def _line(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    style += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{escape(text)}</text>'


def _slanted(low: tuple[float, float], high: tuple[float, float], text: str) -> str:
    """A label along the upper end of a slope."""
    angle = math.degrees(math.atan2(high[1] - low[1], high[0] - low[0]))
    x, y = high[0] - 10, high[1] - 6
    turn = f"rotate({angle:.1f} {high[0]:.1f} {high[1]:.1f})"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="small" text-anchor="end" transform="{turn}">'
        f"{escape(text)}</text>"
    )
