"""The report as one HTML page: a verdict, the frontier, every candidate with why it lost.

Nothing is loaded from anywhere: styles and the drawing are in the page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from .results import CandidateResult, Report

__all__ = ["frontier", "page"]

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 20, 52
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#656d76;--line:#d0d7de;--back:#fff;--good:#1a7f37;
--bad:#bc4c00;--mark:#0969da}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#8d96a0;--line:#30363d;--back:#0d1117;
--good:#3fb950;--bad:#f0883e;--mark:#58a6ff}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:960px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}
.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .7rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}td:first-child{min-width:10rem}td:last-child{min-width:12rem}
td.n,th.n{text-align:right;white-space:nowrap}
svg{width:100%;height:auto}svg text{fill:var(--ink);font-size:12px}svg .dim{fill:var(--dim)}
.tiles{display:flex;flex-wrap:wrap;gap:1.5rem;margin:1.2rem 0}.tiles b{display:block;
font-size:1.5rem}tr.chosen td{font-weight:600}ul{padding-left:1.2rem}
"""


@dataclass(frozen=True)
class Point:
    """A model in the picture: drop across, latency up, size as area."""

    name: str
    latency: float
    drop: float
    bytes: int
    kind: str


def page(report: Report) -> str:
    """Return the page."""
    name = html.escape(report.model.name)
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{name}: gpukit quantize</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name} → {html.escape(report.chosen)}</h1>",
        f'<p class="dim">{html.escape(report.reason)}</p>', _tiles(report),
        "<h2>Accuracy, latency, size</h2>", frontier(report), _legend(report),
        "<h2>Everything that was tried</h2>", _table(report),
        "<h2>Sizes, memory, cold start</h2>", _sizes(report), _cost(report),
        "<h2>How it was measured</h2>", _method(report), "</body></html>",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def _tiles(report: Report) -> str:
    test = report.test
    verdict = {"met": "good", "missed": "bad", "inconclusive": "bad"}[test.verdict]
    words = "original returned" if report.outcome == "original" else test.verdict
    needed = f", about {test.examples_needed} would tell" if test.examples_needed else ""
    size = report.original.file_bytes / max(report.result.file_bytes, 1)
    tiles = (
        (f"{size:.2f}x", "smaller file"),
        (f"{report.result_latency.ratio:.2f}", f"of the latency "
         f"({report.result_latency.ratio_low:.2f} to {report.result_latency.ratio_high:.2f})"),
        (f"{test.drop.value:+.4f}", f"{html.escape(report.metric)} lost "
         f"({test.drop.low:+.4f} to {test.drop.high:+.4f}), "
         f"{test.drop.examples} held-out examples{needed}"),
        (f'<span class="{verdict}">{words}</span>', f"budget {report.max_drop:g}"),
    )  # fmt: skip
    return '<div class="tiles">' + "".join(
        f'<div><b>{value}</b><span class="dim">{text}</span></div>' for value, text in tiles
    ) + "</div>"  # fmt: skip


def frontier(report: Report) -> str:
    """Return the picture as SVG: drop across, latency up, area for the size of the file."""
    points = _points(report)
    drops = [p.drop for p in points] + [0.0, report.max_drop]
    shown = [p for p in points if p.drop <= max(6 * report.max_drop, 0.02)]
    hidden = len(points) - len(shown)
    drops = [p.drop for p in shown] + [0.0, report.max_drop]
    low, high = _widened(min(drops), max(drops))
    top = max([1.1, *(p.latency for p in shown if p.latency <= 3)]) * 1.08
    largest = max(p.bytes for p in points)

    def x(drop: float) -> float:
        return _LEFT + (drop - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(latency: float) -> float:
        return _HEIGHT - _BOTTOM - min(latency, top) / top * (_HEIGHT - _TOP - _BOTTOM)

    body = [*_axes(x, y, low, high, top), _budget_line(x(report.max_drop))]
    for p in sorted(shown, key=lambda p: -p.bytes):
        radius = 4 + 18 * (p.bytes / largest) ** 0.5
        colour = {"chosen": "--good", "original": "--mark", "good": "--mark"}.get(p.kind, "--bad")
        body.append(
            f'<circle cx="{x(p.drop):.1f}" cy="{y(p.latency):.1f}" r="{radius:.1f}" '
            f'style="fill:var({colour});fill-opacity:{0.75 if p.kind == "chosen" else 0.25};'
            f'stroke:var({colour})"><title>{html.escape(p.name)}: latency {p.latency:.2f}, drop '
            f"{p.drop:+.4f}, {p.bytes:,} bytes</title></circle>"
        )
    body += _labels([p for p in shown if p.kind in ("chosen", "original")], x, y)
    note = f"{hidden} candidates with a larger drop are not drawn" if hidden else ""
    if note:
        body.append(
            f'<text class="dim" x="{_WIDTH - _RIGHT}" y="14" text-anchor="end">{note}</text>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="drop against latency">{"".join(body)}</svg>'
    )


def _points(report: Report) -> list[Point]:
    found = [Point("original", 1.0, 0.0, report.original.file_bytes, "original")]
    for c in report.candidates:
        if c.drop is None or c.bytes is None or c.latency is None:
            continue
        kind = "chosen" if c.status == "chosen" else "good" if c.status == "lost" else "bad"
        found.append(Point(c.name, c.latency.ratio, c.drop.value, c.bytes, kind))
    return found


def _widened(low: float, high: float) -> tuple[float, float]:
    room = max(high - low, 1e-4) * 0.12
    return low - room, high + room


def _axes(x: object, y: object, low: float, high: float, top: float) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    made = [
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" style="fill:none;stroke:var(--line)"/>',
        f'<text class="dim" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
        "drop on the validation split (right is worse)</text>",
        f'<text class="dim" transform="translate(16 {(_TOP + bottom) / 2}) rotate(-90)" '
        'text-anchor="middle">latency relative to the original</text>',
    ]
    for i in range(5):
        drop, latency = low + (high - low) * i / 4, top * i / 4
        across, up = _LEFT + (right - _LEFT) * i / 4, bottom - (bottom - _TOP) * i / 4
        anchor = "end" if i == 4 else "middle"
        made.append(
            f'<text class="dim" x="{across:.0f}" y="{bottom + 18}" text-anchor="{anchor}">'
            f"{drop:+.4f}</text>"
            f'<text class="dim" x="{_LEFT - 8}" y="{up + 4:.0f}" text-anchor="end">'
            f"{latency:.2f}</text>"
        )
    return made


def _budget_line(at: float) -> str:
    return (
        f'<path d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" '
        'style="stroke:var(--bad);stroke-dasharray:4 4"/>'
        f'<text class="dim" x="{at - 6:.1f}" y="{_TOP + 12}" text-anchor="end">budget</text>'
    )


def _labels(points: Sequence[Point], x: object, y: object) -> list[str]:
    made = []
    for p in points:
        across, up = x(p.drop), y(p.latency)  # type: ignore[operator]
        end = across > _WIDTH * 0.6
        made.append(
            f'<text x="{across + (-26 if end else 26):.1f}" y="{up + 4:.1f}" '
            f'text-anchor="{"end" if end else "start"}">{html.escape(p.name)}</text>'
        )
    return made


def _legend(report: Report) -> str:
    return (
        '<p class="dim">Area is the size of the file. Left of the dashed line is within the '
        "budget; lower is faster. Only candidates within the budget are timed. "
        f"Objective: least {html.escape(report.objective)}.</p>"
    )


def _table(report: Report) -> str:
    head = (
        "<tr><th>candidate</th><th class=n>smaller</th><th class=n>latency</th><th class=n>p50 / "
        f"p95 / p99 ms</th><th class=n>{html.escape(report.metric)}</th><th class=n>drop (95 %)"
        "</th><th>what became of it</th></tr>"
    )
    return f"<table>{head}{''.join(_row(c) for c in report.candidates)}</table>"


def _row(c: CandidateResult) -> str:
    t = c.latency
    cells = [
        f"<td>{html.escape(c.name)}</td>",
        _number("" if c.size_ratio is None else f"{c.size_ratio:.2f}x"),
        _number("" if t is None else f"{t.ratio:.2f}"),
        _number("" if t is None else f"{t.p50_ms:.3g} / {t.p95_ms:.3g} / {t.p99_ms:.3g}"),
        _number("" if c.score is None else f"{c.score:.4f}"),
        _number("" if c.drop is None else
                f"{c.drop.value:+.4f} ({c.drop.low:+.4f} to {c.drop.high:+.4f})"),
        f"<td>{html.escape(c.status)}: {html.escape(c.reason)}</td>",
    ]  # fmt: skip
    return f'<tr class="{"chosen" if c.status == "chosen" else ""}">{"".join(cells)}</tr>'


def _number(text: str) -> str:
    return f"<td class=n>{text}</td>"


def _sizes(report: Report) -> str:
    a, b = report.original, report.result
    rows = [
        ("file, bytes", f"{a.file_bytes:,}", f"{b.file_bytes:,}"),
        (f"compressed ({b.compression}), bytes", _or(a.compressed_bytes), _or(b.compressed_bytes)),
        ("memory (RSS) after running, bytes", _or(a.memory_bytes), _or(b.memory_bytes)),
        (
            "first answer after, s",
            _seconds(a.cold_start_seconds),
            _seconds(b.cold_start_seconds),
        ),
    ]
    body = "".join(
        f"<tr><td>{name}</td>{_number(one)}{_number(two)}</tr>" for name, one, two in rows
    )
    return (
        f"<table><tr><th></th><th class=n>original</th><th class=n>result</th></tr>{body}</table>"
    )


def _or(count: int | None) -> str:
    return "not measured" if count is None else f"{count:,}"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _cost(report: Report) -> str:
    a, b = report.original_cost, report.result_cost
    if a is None or b is None:
        return ""
    rows = [("per inference", a.per_inference, b.per_inference)]
    if a.per_100k_tokens and b.per_100k_tokens:
        rows.append(("per 100K tokens", a.per_100k_tokens, b.per_100k_tokens))
    if a.per_month and b.per_month:
        rows.append(("replicas", str(a.replicas), str(b.replicas)))
        rows.append(("per month", a.per_month, b.per_month))
    body = "".join(
        f"<tr><td>{name}</td>{_number(one)}{_number(two)}</tr>" for name, one, two in rows
    )
    return (
        f"<h2>Cost at {html.escape(a.price_per_hour)} per hour</h2><table><tr><th></th>"
        f"<th class=n>original</th><th class=n>result</th></tr>{body}</table>"
        f"<p>{html.escape(report.saving or '')}</p>"
    )


def _method(report: Report) -> str:
    facts = [
        f"Examples: {', '.join(f'{n} {what}' for what, n in report.rows.items())}. The test split "
        "had no part in choosing.",
        f"Latency: batch {report.batch}, {report.threads} thread(s), {html.escape(report.target)}; "
        "all candidates and the original in turn, in random order, on the same inputs; ratios are "
        "paired medians.",
        f"Seed {report.seed}; {report.seconds:.0f} of {report.time_limit:.0f} s used.",
        html.escape(", ".join(f"{k} {v}" for k, v in report.environment.items())),
        f"Original: SHA-256 {report.model.sha256}, opset {report.model.opset}, "
        f"{report.model.parameters:,} parameters. Result: SHA-256 {report.output_sha256}.",
        *(html.escape(note) for note in report.notes),
    ]
    return "<ul>" + "".join(f"<li>{fact}</li>" for fact in facts) + "</ul>"
