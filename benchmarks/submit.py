"""``gpukit submit`` beside ``kubectl create`` of the same objects, on a real control plane.

    python -m benchmarks.submit [-n 1000] [--rounds 3] [--check]

Whole processes, one after the other and in turn, in one run: what else the machine does falls on
both. Three duels: one submission; many by ``--sweep``; and what ``gpukit list`` and ``gpukit
status`` take beside reading the same Jobs and doing nothing with them. Needs the binaries of
``tests/cluster`` (`make controlplane`). What counts is the ratio of the medians; with ``--check``
one above its target is an exit code of 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpukit.cluster.client import connect
from tests.cluster.build import binaries
from tests.cluster.controlplane import ControlPlane

_JOB = """
from gpukit import gpu_job

@gpu_job(cpu=1, memory="1Gi", checkpoints="pvc:runs", team="a", cost_center="b")
def train(seed: int = 0) -> None: ...
"""
_ONE_SECONDS, _ONE_TARGET, _MANY_TARGET, _LIST_TARGET = 0.9, 3.0, 0.5, 1.5


@dataclass(frozen=True)
class Row:
    """A duel's medians in seconds, and how much of the other's ours may be."""

    name: str
    ours: float
    other: float
    target: float
    least: float = 0.0  # seconds that are fine in any case

    @property
    def ratio(self) -> float:
        return self.ours / self.other

    @property
    def good(self) -> bool:
        return self.ratio <= self.target or self.ours <= self.least


class Desk:
    """A folder with a job file, on a control plane without nodes."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self.folder = plane, folder
        self.file = folder / "job.py"
        self.file.write_text(_JOB)
        self.kubectl = str(binaries() / "kubectl")
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        self.environ = {  # compiled, as it is after an installation
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        }
        self.gpukit("submit", "--dry-run=server", str(self.file))

    def namespace(self, name: str) -> str:
        self.plane.api.post("/api/v1/namespaces", {"metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        while not self.plane.api.find(account):
            time.sleep(0.05)
        return name

    def gpukit(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gpukit.cli", *words], cwd=self.folder, check=True,
            capture_output=True, text=True, env=self.environ,
        )  # fmt: skip
        return done.stdout

    def create(self, file: Path, namespace: str) -> None:
        subprocess.run(
            [self.kubectl, "create", "-f", str(file), "-n", namespace], check=True,
            capture_output=True,
        )  # fmt: skip

    def yaml_of(self, namespace: str, name: str) -> Path:
        """Write what a submission has made, as a person would have it in a file."""
        shown = self.plane.api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
        made = [{**_bare(job), "apiVersion": "batch/v1", "kind": "Job"} for job in shown]
        code = self.plane.api.get(f"/api/v1/namespaces/{namespace}/configmaps")["items"]
        made += [
            {**_bare(item), "apiVersion": "v1", "kind": "ConfigMap"}
            for item in code
            if item["metadata"]["name"].startswith("gpukit-code-")
        ]
        import yaml

        file = self.folder / name
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        file.write_text(yaml.dump_all(made, Dumper=dumper, sort_keys=False))
        return file


def _bare(item: dict[str, object]) -> dict[str, object]:
    """Return an object as it was sent, without what the server and its controllers added."""
    meta = item["metadata"]
    kept = {key: meta[key] for key in ("name", "labels", "annotations") if key in meta}
    body = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    spec = dict(body.get("spec") or {})
    spec.pop("selector", None)
    if "template" in spec:
        template = json.loads(json.dumps(spec["template"]))
        labels = template["metadata"]["labels"]
        spec["template"] = template
        template["metadata"]["labels"] = {
            k: v for k, v in labels.items() if "controller-uid" not in k and "job-name" not in k
        }
        kept["labels"] = {k: v for k, v in kept["labels"].items() if "batch.kubernetes.io" not in k}
    return {**body, "metadata": kept, **({"spec": spec} if spec else {})}


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one(desk: Desk, rounds: int) -> Row:
    """One submission, and one ``kubectl create`` of its objects."""
    ours, other = [], []
    for number in range(rounds * 3):
        space = desk.namespace(f"one-{number}")
        words = ("submit", "--detach", "--namespace", space, str(desk.file))
        ours.append(timed(lambda w=words: desk.gpukit(*w)))
        file = desk.yaml_of(space, "one.yaml")
        empty = desk.namespace(f"one-{number}-kubectl")
        other.append(timed(lambda f=file, e=empty: desk.create(f, e)))
    return Row("one submission", _median(ours), _median(other), _ONE_TARGET, _ONE_SECONDS)


def many(desk: Desk, rounds: int, count: int) -> Row:
    """A sweep of many, and ``kubectl create -f`` of a file with the same objects."""
    ours, other = [], []
    for number in range(rounds):
        space = desk.namespace(f"many-{number}")
        words = ("submit", "--detach", "--namespace", space, "--sweep", f"seed=1..{count}",
                 str(desk.file))  # fmt: skip
        ours.append(timed(lambda w=words: desk.gpukit(*w)))
        file = desk.yaml_of(space, "many.yaml")
        empty = desk.namespace(f"many-{number}-kubectl")
        other.append(timed(lambda f=file, e=empty: desk.create(f, e)))
        if number < rounds - 1:
            _remove(desk, space)
        _remove(desk, empty)
    return Row(f"{count} by sweep", _median(ours), _median(other), _MANY_TARGET)


def shown(rounds: int, space: str) -> list[Row]:
    """``list`` and ``status`` beside reading the same Jobs, in this process."""
    from gpukit.cli.main import main as gpukit

    def command(*words: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert gpukit([*words, "-n", space]) == 0

    run = connect().list("Job", space)[0]["metadata"]["name"]
    raw, listed, status = [], [], []
    for _ in range(rounds * 3):
        raw.append(timed(lambda: connect().list("Job", space)))
        listed.append(timed(lambda: command("list", "-o", "json")))
        status.append(timed(lambda: command("status", run)))
    return [
        Row("list", _median(listed), _median(raw), _LIST_TARGET),
        Row("status", _median(status), _median(raw), _LIST_TARGET),
    ]


def _remove(desk: Desk, space: str) -> None:
    desk.plane.api.delete(f"/api/v1/namespaces/{space}")  # that of its Jobs takes a minute


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the duels and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-n", type=int, default=1000, help="runs of the sweep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit with 1 above a target")
    options = parser.parse_args(argv)
    plane = ControlPlane(binaries()).start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            desk = Desk(plane, Path(folder))
            rows = [one(desk, options.rounds), many(desk, options.rounds, options.n)]
            rows += shown(options.rounds, f"many-{options.rounds - 1}")
    finally:
        plane.stop()
    print(f"{'':<18}{'gpukit':>9}{'peer':>9}{'ratio':>8}  target")
    for row in rows:
        least = f", or {row.least} s" if row.least else ""
        print(f"{row.name:<18}{row.ours:>8.2f}s{row.other:>8.2f}s{row.ratio:>8.2f}  "
              f"{'ok ' if row.good else 'BAD'} {row.target}{least}")  # fmt: skip
    return int(options.check and not all(row.good for row in rows))


if __name__ == "__main__":
    sys.exit(main())
