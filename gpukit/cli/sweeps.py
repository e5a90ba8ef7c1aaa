"""``gpukit submit --sweep``: the grid of a command line, and its runs as they end."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpukit.errors import RunFailedError, UsageError

from . import output
from .introduction import capacity_words, introduce

if TYPE_CHECKING:
    from gpukit.cluster.client import Client
    from gpukit.runs.sweep import Sweep

__all__ = ["parse_axis", "submit_grid"]

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_MOST = 10_000
_POLL = 2.0
_INTERRUPTED = 130


def parse_axis(text: str) -> tuple[str, list[str]]:
    """Read ``lr=1e-3,1e-4`` or ``seed=0..9``: the parameter, and its values as text.

    Raises:
        UsageError: neither form.
    """
    name, equals, values = text.partition("=")
    if not equals or not name or not values:
        raise UsageError(
            "sweep-form", f"--sweep {text!r} is not NAME=VALUES",
            "write --sweep lr=1e-3,1e-4 or --sweep seed=0..9",
        )  # fmt: skip
    found: list[str] = []
    for part in values.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            found.append(part)
            continue
        first, last = int(match[1]), int(match[2])
        if last < first or last - first >= _MOST:
            raise UsageError(
                "sweep-range", f"--sweep {name}: {part} is no range of 1 to {_MOST} numbers",
                "write the smaller one first: 0..9",
            )  # fmt: skip
        found += map(str, range(first, last + 1))
    return name, found


def submit_grid(params: dict[str, Any]) -> int:
    """Submit a run for each point of the grid, and wait for them unless detached."""
    from gpukit.cluster.client import connect
    from gpukit.runs.sweep import grid, submit_sweep

    from .parameters import parse_parameters
    from .target import job_with, plan_of

    axes = _axes(params["sweep"])
    flags = [
        [word for name, value in point.items() for word in (_flag(name), value)]
        for point in grid(axes)
    ]
    plan = plan_of({**params, "arguments": [*params["arguments"], *flags[0]]})
    job, typed = job_with(params), {}
    for name, values in axes.items():
        others = [w for n, v in axes.items() if n != name for w in (_flag(n), v[0])]
        for value in values:
            words = [*params["arguments"], *others, _flag(name), value]
            typed[name, value] = parse_parameters(job, words, target=params["target"])
    base = typed[next(iter(typed))]
    key = {name: name.replace("-", "_") for name in axes}
    points = [
        {**base, **{key[n]: typed[n, v][key[n]] for n, v in point.items()}} for point in grid(axes)
    ]
    introduce(plan, f"{len(points)} runs", capacity_words(plan))
    client = connect(params["context"], tell=output.talk)
    sweep = submit_sweep(
        plan, client, points, max_parallel=params["max_parallel"], tell=output.talk
    )
    for warning in sweep.warnings:
        output.warn(f"the API server says: {warning}")
    output.talk(
        f"sweep {sweep.name}: {sweep.made} made, {len(sweep.runs) - sweep.made} there before"
    )
    if params["detach"]:
        output.text(sweep.name)
        return 0
    return _follow(client, sweep, params["max_parallel"])


def _axes(texts: Sequence[str]) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    total = 1
    for text in texts:
        name, values = parse_axis(text)
        if name in axes:
            raise UsageError("sweep-axis", f"--sweep {name} is given twice", "give all values once")
        axes[name] = values
        total *= len(values)
    if total > _MOST:
        raise UsageError(
            "sweep-large", f"the sweep has {total} points", f"submit at most {_MOST} at a time"
        )
    return axes


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _follow(client: Client, sweep: Sweep, max_parallel: int | None) -> int:
    """Say how many have ended until all have; return the exit code.

    Raises:
        RunFailedError: some have failed.
    """
    from gpukit.runs.sweep import release, states

    namespace, before = sweep.runs[0].namespace, ""
    try:
        while True:
            if max_parallel is not None:
                release(client, namespace, sweep.name, max_parallel)
            jobs = states(client, namespace, sweep)
            counts = Counter(job.phase for job in jobs)
            shown = ", ".join(f"{count} {phase}" for phase, count in sorted(counts.items()))
            if shown != before:
                output.talk(output.mark(f"▸ {shown}"))
                before = shown
            if all(job.over for job in jobs):
                break
            time.sleep(_POLL)
    except KeyboardInterrupt:
        output.talk(
            f"left; the runs go on: gpukit list --sweep {sweep.name}   end them: "
            f"gpukit cancel --sweep {sweep.name}"
        )
        return _INTERRUPTED
    failed = [job.name for job in jobs if job.phase == "failed"]
    missing = len(sweep.runs) - len(jobs)
    if failed or missing:
        raise RunFailedError(
            "sweep-failed", f"{len(failed)} of {len(sweep.runs)} runs failed: "
            f"{', '.join(failed[:5])}{' …' * (len(failed) > 5)}"
            + (f"; {missing} were deleted" if missing else ""),
            "submit it again: the others stay as they are, these go on from their checkpoints",
        )  # fmt: skip
    return 0
