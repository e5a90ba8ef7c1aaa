"""Two small pictures of one curve: what a useful hour costs on spot, by how often it interrupts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

__all__ = ["svg_plot", "text_plot"]

Point = tuple[Decimal, Decimal | None]
_WIDTH = 48


def text_plot(points: Sequence[Point], on_demand: Decimal | None) -> list[str]:
    """Return lines: a bar of # per MTBI, and | where on-demand is.

    Args:
        points: MTBI in hours, and US dollars per useful hour; None: it never finishes.
        on_demand: US dollars per hour.
    """
    known = [cost for _, cost in points if cost is not None]
    if not known:
        return []
    limit = on_demand * 2 if on_demand else max(known)
    mark = round(_WIDTH / 2) if on_demand else None
    lines = []
    for mtbi, cost in points:
        full = cost is None or cost > limit
        length = _WIDTH if full else max(round(_WIDTH * float((cost or 0) / limit)), 1)
        bar = list("#" * length + " " * (_WIDTH - length))
        if mark is not None and mark < _WIDTH:
            bar[mark] = "|"
        words = "never finishes" if cost is None else f"${cost:,.2f}"
        lines.append(f"{mtbi.normalize():>6f} h  {''.join(bar)}{'>' if full else ' '} {words}")
    if on_demand:
        lines.append(" " * (10 + (mark or 0)) + f"| on demand ${on_demand:,.2f}")
    return lines


def svg_plot(points: Sequence[Point], on_demand: Decimal | None, title: str) -> str:
    """Return a picture of 640 × 320 that needs nothing else; ``title`` is escaped."""
    known = [(float(m), float(c)) for m, c in points if c is not None]
    if not known:
        return _SVG.format(title=_escaped(title), body="")
    ceiling = float(on_demand) * 2 if on_demand else max(c for _, c in known)
    low, high = math.log(known[0][0]), math.log(known[-1][0])

    def place(mtbi: float, cost: float) -> str:
        x = 60 + 540 * (math.log(mtbi) - low) / ((high - low) or 1)
        return f"{x:.1f},{280 - 230 * min(cost / ceiling, 1):.1f}"

    body = [
        '<polyline fill="none" stroke="#1f77b4" stroke-width="2" points="'
        + " ".join(place(*point) for point in known)
        + '"/>'
    ]
    for mtbi, cost in known:
        x, y = place(mtbi, cost).split(",")
        body.append(f'<circle cx="{x}" cy="{y}" r="3"><title>${cost:.2f}</title></circle>')
        body.append(f'<text x="{x}" y="298" text-anchor="middle">{mtbi:g}</text>')
    if on_demand:
        y = place(known[0][0], float(on_demand)).split(",")[1]
        body.append(f'<line x1="60" x2="600" y1="{y}" y2="{y}" stroke="#d62728"/>')
        body.append(f'<text x="600" y="{float(y) - 6:.1f}" text-anchor="end">'
                    f"on demand ${on_demand:.2f}/h</text>")  # fmt: skip
    return _SVG.format(title=_escaped(title), body="\n".join(body))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" \
font-family="sans-serif" font-size="12">
<rect width="640" height="320" fill="#fff"/>
<text x="60" y="24" font-size="14">{title}</text>
{body}
<text x="330" y="314" text-anchor="middle">mean time between interruptions, hours</text>
</svg>
"""
