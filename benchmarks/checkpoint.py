"""What a checkpoint costs, beside its peers and the limits of the machine, in one run.

    python -m benchmarks.checkpoint [--gb 1 4] [--rounds 2] [--only save,load,job] [--check]

Each system runs in a fresh process; rounds are interleaved, so that whatever else the machine does
falls on all of them. What counts are ratios: to a limit that the same process measured, or to a
peer.
Costs are also written to ``.benchmarks/checkpoint.json``, for benchmarks/goodput.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

SAVERS = (
    "gpukit", "gpukit, blocking copy", "DCP async staging", "DCP async, stager reused",
    "DCP async (default)", "Lightning AsyncCheckpointIO", "torch.save", "safetensors",
)  # fmt: skip
LOADERS = ("gpukit", "torch.load(mmap)", "torch.save", "DCP async (default)", "safetensors")
JOBBERS = ("gpukit", "DCP async staging")
OURS = ("gpukit", "gpukit, blocking copy")
PARTS = ("save", "load", "job")
RESULT = Path(".benchmarks/checkpoint.json")

Runs = list[dict[str, Any]]


def measure(what: str, name: str, gigabytes: float) -> dict[str, Any] | None:
    """Run one system in a process of its own; None where it failed."""
    environ = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with tempfile.TemporaryDirectory(prefix="gpukit-bench-", dir=".") as folder:
        command = [sys.executable, "-m", "benchmarks.checkpoint_run", what, name]
        done = subprocess.run(
            [*command, str(gigabytes), folder], env=environ, capture_output=True, text=True
        )
    if done.returncode:
        print(f"{name} failed: {done.stderr.strip()[-600:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure_all(what: str, names: Sequence[str], gigabytes: float, rounds: int) -> dict[str, Runs]:
    found: dict[str, Runs] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            result = measure(what, name, gigabytes)
            print(f"  {what} {name}: {'done' if result else 'failed'}", file=sys.stderr)
            if result:
                found[name].append(result)
    return found


def later(runs: Runs, figure: str) -> list[float]:
    """A figure of every save but the first one of each run."""
    return [save[figure] for run in runs for save in run["saves"][1:]]


def save_figures(runs: Runs) -> dict[str, float]:
    """The figures of a system's saves; seconds, and ratios to limits of the same processes."""
    copy = statistics.median(x for run in runs for x in run["memcpy"])
    disk = statistics.median(min(run["write"]) for run in runs)
    stall = statistics.median(later(runs, "stall"))
    slow = statistics.mean(later(runs, "slower"))
    lost = stall + max(slow, 0.0)
    durable = statistics.median(later(runs, "durable"))
    first = statistics.median(run["saves"][0]["stall"] for run in runs)
    size = runs[0]["bytes"]
    return {
        "stall": stall, "stall ÷ memcpy": stall / copy, "ms per GB": stall * 1e12 / size,
        "lost": lost, "first ÷ later": first / stall, "durable": durable,
        "durable ÷ limit": durable / disk,
        "memory ÷ state": statistics.median(run["extra"] / run["bytes"] for run in runs),
        "slow-down": lost - stall, "memcpy": copy, "limit": disk,
        "step": statistics.median(run["step"] for run in runs),
    }  # fmt: skip


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    print(f"\n{title}")
    for line in lines:
        cells = (
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "  ".join(cells))


def show_saves(gigabytes: float, figures: dict[str, dict[str, float]]) -> list[str]:
    ours = figures["gpukit"]
    rows = [
        [
            name, f"{f['stall']:.3f}", f"{f['stall ÷ memcpy']:.2f}", f"{f['ms per GB']:.1f}",
            f"{f['lost']:.2f}", f"{f['lost'] / ours['lost']:.1f}", f"{f['first ÷ later']:.1f}",
            f"{f['memory ÷ state']:.2f}", f"{f['durable']:.2f}", f"{f['durable ÷ limit']:.1f}",
        ]
        for name, f in figures.items()
    ]  # fmt: skip
    head = [
        "save", "stall s", "÷ memcpy", "ms/GB", "lost s", "÷ gpukit", "first ÷ later",
        "memory ÷ state", "durable s", "÷ limit",
    ]  # fmt: skip
    table(
        f"{gigabytes:g} GB: memcpy {ours['memcpy']:.3f} s, write and sync {ours['limit']:.2f} s, "
        f"a step {ours['step']:.2f} s",
        head, rows,
    )  # fmt: skip
    peers = [f["lost"] for name, f in figures.items() if name not in OURS]
    copying = figures.get("gpukit, blocking copy", ours)
    goals = [
        ("blocking stall ÷ memcpy", copying["stall ÷ memcpy"], 1.2),
        ("lazy stall, ms per GB", ours["ms per GB"], 10.0),
        ("time lost ÷ best peer", ours["lost"] / min(peers) if peers else 0.0, 1 / 3),
        ("first save ÷ later, blocking", copying["first ÷ later"], 2.0),
        ("extra memory ÷ state", ours["memory ÷ state"], 1.05),
        ("durable ÷ limit", ours["durable ÷ limit"], 2.0),
    ]
    return judge(f"{gigabytes:g} GB", goals)


def show_loads(gigabytes: float, found: dict[str, Runs]) -> list[str]:
    rows, goals = [], []
    for name, runs in found.items():
        if not runs:
            continue
        raw = statistics.median(x for run in runs for x in run["raw"])
        load = statistics.median(x for run in runs for x in run["load"])
        equal = all(run["equal"] for run in runs)
        rows.append([name, f"{load:.2f}", f"{load / raw:.2f}", "yes" if equal else "NO"])
        if name == "gpukit":
            goals = [("verified resume ÷ cold read", load / raw, 1.2)]
    table(f"{gigabytes:g} GB, cold", ["load", "s", "÷ cold read", "bitwise"], rows)
    return judge(f"{gigabytes:g} GB", goals)


def show_jobs(gigabytes: float, found: dict[str, Runs]) -> list[str]:
    over: dict[str, float] = {}
    rows = []
    for name, runs in found.items():
        if not runs:
            continue
        without = statistics.mean(seconds for run in runs for seconds in run["without"])
        total = statistics.mean(seconds for run in runs for seconds in run["with"])
        over[name] = total / without - 1
        rows.append([name, f"{total:.1f}", f"{total / without:.3f}", str(runs[0]["saves"])])
    title = f"{gigabytes:g} GB, whole job, a save every 5 steps"
    table(title, ["job", "s", "÷ without saves", "saves asked for"], rows)
    if len(over) < 2:
        return []
    peer = min(value for name, value in over.items() if name not in OURS)
    goals = [
        ("job time ÷ without saves", 1 + over["gpukit"], 1.05),
        ("overhead ÷ DCP's", over["gpukit"] / max(peer, 1e-9), 1 / 3),
    ]
    return judge(f"{gigabytes:g} GB", goals)


def judge(what: str, goals: Iterable[tuple[str, float, float]]) -> list[str]:
    """Print each goal; return those that were missed."""
    missed = []
    for name, value, most in goals:
        fine = value <= most
        print(f"  {'✓' if fine else '✗'} {name}: {value:.2f}, goal at most {most:.2f}")
        if not fine:
            missed.append(f"{what}: {name}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gb", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--systems", default="", help="parts of their names; gpukit is one of them")
    parser.add_argument("--check", action="store_true", help="leave with 1 where a goal is missed")
    options = parser.parse_args()
    chosen = options.systems.split(",") if options.systems else []
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"--only {min(unknown)}: choose from {', '.join(PARTS)}")
    if chosen and not any(part in "gpukit" for part in chosen):
        parser.error("--systems: name gpukit too, which the others are compared with")

    def some(names: Sequence[str]) -> list[str]:
        return [n for n in names if not chosen or any(c in n for c in chosen)]

    missed: list[str] = []
    result: dict[str, Any] = {}
    for gigabytes in options.gb:
        if "save" in options.only:
            found = measure_all("save", some(SAVERS), gigabytes, options.rounds)
            figures = {name: save_figures(runs) for name, runs in found.items() if runs}
            if "gpukit" not in figures:
                parser.exit(1, "gpukit itself failed: there is nothing to compare with\n")
            missed += show_saves(gigabytes, figures)
            result[f"{gigabytes:g}"] = figures
        if "load" in options.only:
            found = measure_all("load", some(LOADERS), gigabytes, options.rounds)
            missed += show_loads(gigabytes, found)
        if "job" in options.only:
            found = measure_all("job", some(JOBBERS), gigabytes, options.rounds)
            missed += show_jobs(gigabytes, found)
    if result:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False))
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
