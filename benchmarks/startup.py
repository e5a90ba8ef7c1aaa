"""Start-up of gpukit beside its fastest peers: whole processes, interleaved, in one run.

    python -m benchmarks.startup [-n 15] [--only help,import,render] [--check]

Every round runs ours, the peer and a bare interpreter, one after the other, so that whatever else
the machine does falls on all of them alike. What counts is the ratio of the medians; with
``--check`` a ratio above its target is an exit code of 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .peers import environment_with_torch, peers_bin

__all__ = ["Duel", "Outcome", "duels", "main", "measure"]

_JOB = '''
import torch
from gpukit import gpu_job

@gpu_job(profile="a100-80gb", spot=True, checkpoints="s3://bucket/runs")
def train(epochs: int = 3, lr: float = 1e-3) -> float:
    """Train."""
    return float(torch.zeros(1))
'''
_COMPONENT = '''
import torch
import torchx.specs as specs

def train(epochs: int = 3, lr: float = 1e-3) -> specs.AppDef:
    """Train.

    Args:
        epochs: how often
        lr: how fast
    """
    role = specs.Role(
        name="train", image="image", entrypoint="python", args=["-m", "train", str(epochs)],
        resource=specs.Resource(cpu=2, gpu=1, memMB=1024),
    )
    return specs.AppDef(name="train", roles=[role])
'''


@dataclass(frozen=True)
class Duel:
    """Two commands that do the same, and how long ours may take in relation to the other."""

    name: str
    ours: Sequence[str]
    peer: Sequence[str]
    target: float
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """Median seconds of each side and of a bare interpreter."""

    duel: Duel
    ours: float
    peer: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def passed(self) -> bool:
        return self.ratio <= self.duel.target


def duels(peers: Path, work: Path) -> dict[str, Duel]:
    """Return the duels; their job files are written into ``work``."""
    gpukit = str(Path(sys.executable).parent / "gpukit")
    torchx, python = str(peers / "torchx"), str(peers / "python")
    (work / "job.py").write_text(_JOB)
    (work / "component.py").write_text(_COMPONENT)
    plain, with_torch = dict(os.environ), environment_with_torch()
    dryrun = [torchx, "run", "--dryrun", "-s", "local_cwd", "component.py:train"]
    return {
        "help": Duel(
            "--help, of torchx --help", [gpukit, "--help"], [torchx, "--help"], 0.8, plain,
        ),
        "import": Duel(
            "import, of import submitit",
            [sys.executable, "-c", "import gpukit"], [python, "-c", "import submitit"], 0.5, plain,
        ),
        "render": Duel(
            "render, of torchx run --dryrun, both with torch",
            [gpukit, "render", "job.py", "--epochs", "5"], [*dryrun, "--epochs", "5"],
            1.5, with_torch,
        ),
    }  # fmt: skip


def measure(duel: Duel, rounds: int, work: Path) -> Outcome:
    """Run a duel ``rounds`` times after one round that does not count."""
    commands = {"ours": duel.ours, "peer": duel.peer, "bare": [sys.executable, "-c", "pass"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            taken = _seconds(command, duel.environment, work)
            if number > 0:
                seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return Outcome(duel, medians["ours"], medians["peer"], medians["bare"])


def _seconds(command: Sequence[str], environment: Mapping[str, str], work: Path) -> float:
    begun = time.perf_counter()
    done = subprocess.run(
        command, env=environment, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    taken = time.perf_counter() - begun
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return taken


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 if ``--check`` finds a ratio above its target."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", "--rounds", type=int, default=15)
    parser.add_argument("--only", default="help,import,render", help="which duels")
    parser.add_argument("--check", action="store_true", help="exit with 1 on a miss")
    options = parser.parse_args(argv)
    peers = peers_bin()
    print(f"{'gpukit':<50}{'ratio':>7}{'target':>8}{'':6}{'ours':>9}{'peer':>9}{'bare':>9}")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        chosen = duels(peers, Path(folder))
        for name in options.only.split(","):
            outcome = measure(chosen[name], options.rounds, Path(folder))
            missed += not outcome.passed
            print(_row(outcome), flush=True)
    return 1 if options.check and missed else 0


def _row(outcome: Outcome) -> str:
    times = "".join(f"{1000 * s:>6.0f} ms" for s in (outcome.ours, outcome.peer, outcome.bare))
    mark = "  ok  " if outcome.passed else " MISS "
    duel = outcome.duel
    return f"{duel.name:<50}{outcome.ratio:>7.2f}{'<= ' + str(duel.target):>8}{mark}{times}"


if __name__ == "__main__":
    sys.exit(main())
