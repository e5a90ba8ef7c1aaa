"""The report as one HTML page: a verdict, the frontier, every candidate with why it lost.

Nothing is loaded from anywhere: styles and the drawing are in the page.
"""

from __future__ import annotations

import html

from .chart import Axis, Point, frontier, scatter
from .results import CandidateResult, LatencyResult, Report

__all__ = ["page"]

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
vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}
small{display:block;color:var(--dim);font-weight:400}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}figure{flex:1 1 380px;margin:0}
figcaption{font-weight:600}
svg{width:100%;height:auto}svg text{fill:var(--ink);font-size:12px}svg .dim{fill:var(--dim)}
svg path{fill:none;stroke:var(--line)}svg .limit{stroke:var(--bad);stroke-dasharray:4 4}
svg .frontier{stroke:var(--good);stroke-width:1.5}
circle{fill:var(--mark);stroke:var(--mark);fill-opacity:.25}
circle.original{fill:var(--ink);stroke:var(--ink)}circle.chosen{fill:var(--good);
stroke:var(--good);fill-opacity:.8}circle.over,circle.slow{fill:var(--bad);stroke:var(--bad)}
.tiles{display:flex;flex-wrap:wrap;gap:1.5rem;margin:1.2rem 0}.tiles b{display:block;
font-size:1.5rem}tr.chosen td{font-weight:600}ul{padding-left:1.2rem}
"""


def page(report: Report) -> str:
    """Return the page."""
    name = html.escape(report.model.name)
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{name}: gpukit quantize</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name} → {html.escape(report.chosen)}</h1>",
        f'<p class="dim">{html.escape(report.reason)}</p>', _tiles(report),
        "<h2>Accuracy, size, latency</h2>", _pictures(report),
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


def _pictures(report: Report) -> str:
    """Return two drawings: what keeps the budget, and what is small and fast."""
    scored = [
        Point("original", 0.0, 100.0, "original", f"original, {report.original.file_bytes:,} bytes")
    ]
    timed = [Point("original", 100.0, report.original_latency.ratio, "original", "original")]
    for number, c in enumerate(report.candidates, 1):
        if c.bytes is None:
            continue
        part, kind = 100 * c.bytes / report.original.file_bytes, _kind(c)
        title = f"{c.name}: {c.bytes:,} bytes"
        if c.drop is not None:
            title += f", drop {c.drop.value:+.4f}"
            scored.append(Point(str(number), c.drop.value, part, kind, title))
        if c.latency is not None:
            title += f", latency {c.latency.ratio:.2f}"
            timed.append(Point(str(number), part, c.latency.ratio, kind, title))
    good = [p for p in timed if p.kind in ("original", "chosen", "kept")]
    size = Axis("file, % of the original", lambda v: f"{v:g}")
    drop = Axis(f"drop in {report.metric}", lambda v: f"{v:g}", max(4 * report.max_drop, 1e-6))
    of = "the original" if report.baseline == "original" else report.baseline
    latency = Axis(f"latency relative to {of}", lambda v: f"{v:g}", 2.5)
    first = scatter(scored, drop, size, limit=report.max_drop)
    second = scatter(timed, size, latency, best=frontier(good))
    return (
        f'<div class="pictures"><figure><figcaption>What keeps the budget</figcaption>{first}'
        f"</figure><figure><figcaption>What is small and fast</figcaption>{second}"
        '</figure></div><p class="dim">Numbers are those of the table. Left and down is better; '
        "the line joins what nothing beats in both. → is beyond the edge. What is over the budget "
        "is not timed, and what is clearly too slow is not scored. "
        f"Objective: least {html.escape(report.objective)}.</p>"
    )


def _kind(c: CandidateResult) -> str:
    return {"chosen": "chosen", "lost": "kept", "too slow": "slow"}.get(c.status, "over")


def _table(report: Report) -> str:
    of = "original" if report.baseline == "original" else report.baseline
    head = (
        "<tr><th></th><th>candidate</th><th class=n>smaller</th><th class=n>latency<small>of "
        f"{html.escape(of)}; p50, p99</small></th><th class=n>{html.escape(report.metric)}"
        "<small>on validation</small></th><th class=n>drop<small>95 %</small></th>"
        "<th>what became of it</th></tr>"
    )
    first = [
        "<td></td><td>original</td>", _number("1.00x"), _latency(report.original_latency),
        _number(f"{report.original_score:.4f}"), "<td></td>", "<td></td>",
    ]  # fmt: skip
    rows = "".join(_row(number, c) for number, c in enumerate(report.candidates, 1))
    return f"<table>{head}<tr>{''.join(first)}</tr>{rows}</table>"


def _row(number: int, c: CandidateResult) -> str:
    drop = c.drop
    name = html.escape(c.name).replace("+", "+<wbr>")
    cells = [
        f"<td class=n>{number}</td><td>{name}</td>",
        _number("" if c.size_ratio is None else f"{c.size_ratio:.2f}x"),
        _latency(c.latency),
        _number("" if c.score is None else f"{c.score:.4f}"),
        _number("" if drop is None else f"{drop.value:+.4f}<small>{drop.low:+.4f} to "
                f"{drop.high:+.4f}</small>"),
        f"<td>{html.escape(c.status)}: {html.escape(c.reason)}</td>",
    ]  # fmt: skip
    kind = {"chosen": "chosen", "not tried": "dim", "failed": "dim"}.get(c.status, "")
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def _latency(one: LatencyResult | None) -> str:
    return _number("" if one is None else f"{one.ratio:.2f}<small>{one.p50_ms:.3g}, "
                   f"{one.p99_ms:.3g} ms</small>")  # fmt: skip


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
    a, b = report.baseline_cost, report.result_cost
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
