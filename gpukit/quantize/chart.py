"""A scatter plot as SVG: numbered points, a frontier of those that nothing beats, a limit."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "Point", "frontier", "scatter", "ticks"]

_WIDTH, _HEIGHT = 460, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 30, 18, 46
_RADIUS = 7


@dataclass(frozen=True)
class Axis:
    """An axis: its name, how a tick is written, the value from which points stand at the edge."""

    name: str
    write: Callable[[float], str]
    largest: float = math.inf


@dataclass(frozen=True)
class Point:
    """A point with its mark, a class for its colour, and what is told when it is pointed at."""

    mark: str
    x: float
    y: float
    kind: str
    title: str


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other is left of and below, from left to right."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not found or point.y < found[-1].y:
            found.append(point)
    return found


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers that span a range, at most about ``most`` steps."""
    if high <= low:
        high = low + 1
    width = (high - low) / most
    power = 10 ** math.floor(math.log10(width))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= width * 0.999)
    first = math.floor(low / step + 1e-9)
    count = math.ceil(high / step - 1e-9) - first
    return [round((first + i) * step, 12) for i in range(count + 1)]


def scatter(
    points: Sequence[Point], x: Axis, y: Axis, *, limit: float | None = None,
    best: Sequence[Point] = (),
) -> str:  # fmt: skip
    """Return the drawing.

    Args:
        points: what is drawn; of two that lie on each other the later one is on top.
        x: the axis across.
        y: the axis up.
        limit: where a dashed line crosses ``x``, if one does.
        best: points that a line goes through.
    """
    lows = [min(p.x, x.largest) for p in points]
    across = ticks(min(0.0, *lows), max([*lows, limit or 0.0]))
    up = ticks(0.0, max(min(p.y, y.largest) for p in points))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def at(point: Point) -> tuple[float, float]:
        return column(min(point.x, x.largest)), row(min(point.y, y.largest))

    def column(value: float) -> float:
        return _LEFT + (value - across[0]) / (across[-1] - across[0]) * (right - _LEFT)

    def row(value: float) -> float:
        return bottom - (value - up[0]) / (up[-1] - up[0]) * (bottom - _TOP)

    body = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']
    body += [_text(column(v), bottom + 18, x.write(v), "middle", "dim") for v in across]
    body += [_text(_LEFT - 8, row(v) + 4, y.write(v), "end", "dim") for v in up]
    body.append(_text((_LEFT + right) / 2, _HEIGHT - 8, x.name, "middle", "dim"))
    body.append(
        f'<text class="dim" transform="translate(13 {(_TOP + bottom) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{html.escape(y.name)}</text>'
    )
    if limit is not None:
        body.append(f'<path class="limit" d="M{column(limit):.1f} {_TOP}V{bottom}"/>')
        body.append(_text(column(limit), _TOP - 6, "budget", "middle", "dim"))
    if len(best) > 1:
        line = "L".join(f"{a:.1f} {b:.1f}" for a, b in map(at, best))
        body.append(f'<path class="frontier" d="M{line}"/>')
    groups: list[list[tuple[float, float, str]]] = []  # of points too near for labels of their own
    for point in points:
        a, b = at(point)
        body.append(
            f'<circle class="{point.kind}" cx="{a:.1f}" cy="{b:.1f}" r="{_RADIUS}">'
            f"<title>{html.escape(point.title)}</title></circle>"
        )
        group = next((g for g in groups if math.dist(g[0][:2], (a, b)) < 2 * _RADIUS), None)
        if group is None:
            groups.append(group := [])
        beyond = point.x > x.largest or point.y > y.largest
        group.append((a, b, point.mark + (" →" if beyond else "")))
    body += [_label(group) for group in groups]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(y.name)} '
        f'against {html.escape(x.name)}">{"".join(body)}</svg>'
    )


def _label(group: list[tuple[float, float, str]]) -> str:
    """Return the marks of points that lie together, beside them."""
    left = group[0][0] > 0.75 * _WIDTH  # near the right edge there is no room on the other side
    a, b, _ = min(group) if left else max(group)
    words = ", ".join(mark for _, _, mark in group)
    return _text(
        a + (-1 if left else 1) * (_RADIUS + 3), b + 4, words, "end" if left else "start", "mark"
    )


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{html.escape(words)}</text>"
    )
