"""What is said of a run that is followed and does not run: when, and how often."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gpukit.cli.pending import PendingWatch
from gpukit.cluster import snapshot as reading
from gpukit.cluster.client import Client
from gpukit.cluster.follow import Change
from gpukit.diagnose import ClusterSnapshot
from gpukit.errors import ClusterError
from tests.diagnose.scene import A100_SLICES, RUN, Scene, gpu_node, stamp


class Followed:
    """A run that is followed by a clock of the test's own; the snapshot is a scene's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
        self.now, self.looks, self.lines = 0.0, 0, list[str]()
        self.scene = scene
        self.error: ClusterError | None = None
        monkeypatch.setattr(reading, "read_snapshot", self._read)
        nobody = cast(Client, None)
        self.watch = PendingWatch(nobody, RUN, "ml", self.lines.append, lambda: self.now)

    def _read(self, *args: Any, **more: Any) -> ClusterSnapshot:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.scene.snapshot()

    def at(self, seconds: float) -> int:
        """Look at this moment; return how many lines were written."""
        before, self.now = len(self.lines), seconds
        self.watch.look()
        return len(self.lines) - before


def test_it_is_said_after_ten_seconds_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch, Scene(A100_SLICES))
    assert followed.at(9.9) == 0
    assert followed.looks == 0
    assert followed.at(10.0) > 2
    assert "no node offers nvidia.com/mig-1g.10gb" in followed.lines[0]
    assert [followed.at(float(s)) for s in range(11, 60)] == [0] * 49
    assert followed.looks == 2
    followed.scene = Scene()
    assert followed.at(100.0) > 0  # another reason


def test_what_may_be_a_matter_of_moments_is_looked_at_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(gpu_node("rack-2", "NVIDIA-A100-SXM4-80GB", {"nvidia.com/mig-1g.10gb": 7}))
    scene.pod["metadata"]["creationTimestamp"] = stamp(300)
    scene.pod["status"]["conditions"][0]["lastTransitionTime"] = stamp(300)
    followed = Followed(monkeypatch, scene)
    assert followed.at(10.0) == 0
    assert followed.at(20.0) > 0
    assert "the scheduler takes no node" in followed.lines[0]


def test_nothing_is_asked_of_a_run_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch, Scene(A100_SLICES))
    followed.watch.take(Change("started"))
    assert followed.at(1000.0) == 0
    followed.watch.take(Change("exited"))
    assert followed.at(1009.0) == 0
    assert followed.at(1010.0) > 0


def test_a_healthy_run_and_a_cluster_in_trouble_say_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = gpu_node("rack-2", "NVIDIA-A100-SXM4-80GB", {"nvidia.com/mig-1g.10gb": 7})
    assert Followed(monkeypatch, Scene(fits)).at(10.0) == 0
    broken = Followed(monkeypatch, Scene(A100_SLICES))
    broken.error = ClusterError("cluster-unreachable", "it does not answer", "try again")
    assert broken.at(10.0) == 0
    broken.error = None
    assert broken.at(30.0) > 0
