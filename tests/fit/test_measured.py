"""What the runtime sees of GPUs, through a real shared library that stands in for the driver's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from gpukit.catalog import load_catalog
from gpukit.cli.main import main, run
from gpukit.cluster.state import JobState, PodState
from gpukit.contract import CONTAINER
from gpukit.errors import UsageError
from gpukit.finops.fit import CONTEXT, measured_need
from gpukit.ladder import Cause
from gpukit.runs.view import read_view
from gpukit.runtime.record import Attempt, End, Progress, RunRecord, Start
from gpukit.runtime.store import DirectoryStore
from gpukit.runtime.termination import Message, row
from gpukit.runtime.usage import Usage, merged, torch_event
from tests.runtime.local import Desk

GIB = 2**30
H100 = "NVIDIA H100 80GB HBM3"
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here")

LOOK = """
import json, os, time
from gpukit.runtime.usage import Meter
meter = Meter(os.environ, every=0.01)
until = time.monotonic() + 30
while time.monotonic() < until:
    found = meter.usage()
    if found is not None and found.samples + found.devices >= int(os.environ["ENOUGH"]):
        break
    if found is None and "EMPTY" in os.environ:
        meter._thread.join(0.5)
        break
    time.sleep(0.01)
meter.close()
found = meter.usage()
print(json.dumps(None if found is None else vars(found)))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library once, of today and of before the second form of memory."""
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml.c")
    for name, flags in (("new", []), ("old", ["-DOLD"])):
        (folder / name).mkdir()
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-o", folder / name / "libnvidia-ml.so.1", source, *flags],
            check=True,
        )  # fmt: skip
    return folder


def line(
    name: str = H100, uuid: str = "GPU-1", total: int = 80 * GIB, reserved: int = GIB // 2,
    used: int = 6 * GIB, busy: int = 13, mig: int = 0, parent: int = -1,
) -> str:  # fmt: skip
    return ";".join(map(str, (name, uuid, total, reserved, used, busy, mig, parent))) + "\n"


def environment(library: Path, devices: str, *, old: bool = False, **more: str) -> dict[str, str]:
    table = library / "devices.txt"
    table.write_text(devices, encoding="utf-8")
    return {
        **{k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"},
        "LD_LIBRARY_PATH": str(library / ("old" if old else "new")), "NVIDIA_STAND_IN": str(table),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1", "ENOUGH": "4", **more,
    }  # fmt: skip


def looked(environ: dict[str, str]) -> dict[str, Any] | None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environ, text=True, capture_output=True, check=True
    )
    found: dict[str, Any] | None = json.loads(done.stdout)
    return found


@needs_gcc
def test_a_whole_gpu(library: Path) -> None:
    found = looked(environment(library, line()))
    assert found is not None
    assert (found["device"], found["total"], found["used"]) == (H100, 80 * GIB, 6 * GIB)
    assert found["busy"] == pytest.approx(0.13)
    assert found["allocated"] is found["reserved"] is None, "only PyTorch knows"


@needs_gcc
def test_an_older_library_counts_what_the_driver_reserves(library: Path) -> None:
    found = looked(environment(library, line(), old=True))
    assert found is not None
    assert found["used"] == 6 * GIB + GIB // 2


@needs_gcc
def test_a_slice_has_memory_and_nobody_says_how_busy_it_is(library: Path) -> None:
    part = f"{H100} MIG 1g.10gb"
    devices = line(busy=-1, mig=1) + line(part, "MIG-1", 9 * GIB, 0, 2 * GIB, busy=-1, parent=0)
    found = looked(environment(library, devices, ENOUGH="1"))
    assert found is not None
    assert (found["device"], found["total"], found["used"]) == (part, 9 * GIB, 2 * GIB)
    assert found["busy"] is None
    assert found["samples"] == 0


@needs_gcc
def test_only_visible_devices_count_and_the_fullest_of_them(library: Path) -> None:
    devices = (
        line(used=GIB, busy=0)
        + line(uuid="GPU-2", used=3 * GIB, busy=50)
        + line(uuid="GPU-3", used=70 * GIB, busy=100)
    )
    found = looked(environment(library, devices, CUDA_VISIBLE_DEVICES="0,GPU-2"))
    assert found is not None
    assert (found["used"], found["devices"]) == (3 * GIB, 2)
    assert found["busy"] == pytest.approx(0.25)
    none = environment(library, devices, CUDA_VISIBLE_DEVICES="", EMPTY="1")
    assert looked(none) is None


@needs_gcc
def test_elsewhere_than_in_a_pod_other_peoples_gpus_do_not_count(library: Path) -> None:
    environ = environment(library, line(), EMPTY="1")
    del environ["KUBERNETES_SERVICE_HOST"]
    assert looked(environ) is None


@needs_gcc
def test_no_driver_is_unknown_and_never_zero(library: Path) -> None:
    environ = environment(library, line(), EMPTY="1")
    del environ["NVIDIA_STAND_IN"]  # the library is there, and says that no driver is loaded
    assert looked(environ) is None
    assert looked({**environ, "LD_LIBRARY_PATH": ""}) is None


def test_torch_without_a_gpu_says_nothing() -> None:
    import torch

    started: Any = torch.cuda.is_initialized
    assert not started()
    assert torch_event() is None
    assert not started(), "looking does not start CUDA"


# ---- from attempts to a need


def test_peaks_are_merged_and_rows_are_short() -> None:
    first = Usage(H100, 1, 80 * GIB, 5 * GIB, None, None, 0.5, 10)
    second = Usage(H100, 1, 80 * GIB, 7 * GIB, 4 * GIB, 6 * GIB, 0.1, 30)
    both = merged([first, None, second])
    assert both is not None
    assert (both.used, both.allocated, both.reserved) == (7 * GIB, 4 * GIB, 6 * GIB)
    assert both.busy == pytest.approx(0.2)
    assert both.samples == 40
    assert merged([None]) is None
    assert Usage.from_row(second.to_row()) == second
    assert len(json.dumps(second.to_row())) < 140
    unknown = Usage(H100, 1, used=GIB)
    assert Usage.from_row(unknown.to_row()) == unknown, "what is unknown stays so"
    assert Usage.from_row({}) is Usage.from_row(None) is None


def test_what_pytorch_counts_is_better_than_what_is_in_use() -> None:
    usage = Usage(H100, 1, 80 * GIB, used=75 * GIB, allocated=4 * GIB, reserved=74 * GIB)
    need = measured_need(usage, Fraction(1, 10))
    assert need is not None
    assert need.total == pytest.approx(1.1 * 4 * GIB + GIB, abs=10), "a GiB was not PyTorch's"
    only_torch = measured_need(replace(usage, used=None), Fraction(0))
    assert only_torch is not None
    assert only_torch.total == 4 * GIB + CONTEXT
    only_nvml = measured_need(replace(usage, allocated=None), Fraction(0))
    assert only_nvml is not None
    assert only_nvml.total == 75 * GIB
    assert measured_need(Usage(H100, 1)) is None


# ---- a run


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path)
    yield desk
    desk.close()


JOB = """
import sys, types
from gpukit import gpu_job

@gpu_job(profile="h100")
def train(counters: bool = False) -> int:
    if counters:  # those of a torch on a GPU; there is none here
        sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(
            is_initialized=lambda: True, current_device=lambda: 0,
            get_device_properties=lambda d: types.SimpleNamespace(
                name="H100", total_memory=79 << 30
            ),
            max_memory_allocated=lambda d: 3 << 30, max_memory_reserved=lambda d: 5 << 30,
        ))
    return 1
"""


@needs_gcc
def test_a_run_records_what_it_used_and_fit_says_what_would_do(
    library: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library is seen by the supervisor as in a pod; PyTorch's counters come from the job."""
    environ = environment(library, line())
    file = desk.write(JOB)
    job = desk.cli("submit", "--local", file.name, "--counters", **environ)
    _, said = job.communicate(timeout=240)
    assert job.returncode == 0, said
    assert "4.3 GiB of 80 GiB GPU memory would do: gpukit fit train-" in said
    [folder] = (desk.home / "runs").iterdir()
    [message] = [json.loads(p.read_text()) for p in (folder / "logs").glob("attempt-*.end.json")]
    seen = message["attempts"][0]["gpu"]
    assert (seen["a"], seen["r"], seen["u"]) == (3 * GIB, 5 * GIB, 6 * GIB)

    assert main(["fit", folder.name, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["need_bytes"] == pytest.approx(1.1 * 3 * GIB + 1 * GIB, abs=10)
    assert found["busy"] is None, "a moment is not enough to say"
    assert found["recommended"] is None
    assert found["memory_bytes"] == 80 * GIB

    record = RunRecord(DirectoryStore(folder / "store"))
    [attempt] = record.attempts()
    assert attempt.progress.gpu is not None
    longer = replace(attempt.progress.gpu, busy=0.10, samples=600)
    record.put_progress(1, replace(attempt.progress, gpu=longer))
    assert main(["fit", folder.name, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"] == {"profile": "mig-1g.10gb", "gpu": "h100"}
    [best] = [p for p in found["places"] if p["profile"] == "mig-1g.10gb"]
    assert best["takes"] == 1.0, "a seventh of the card is more than 10 % of it"
    assert Decimal(best["saves_hour"]) == Decimal("6.88") - Decimal("0.9829")

    assert main(["fit", folder.name]) == 0
    shown = capsys.readouterr()
    assert 'profile="mig-1g.10gb", gpu="h100"' in shown.err
    assert "save $5.90 an hour" in shown.err

    busier = replace(longer, busy=0.6)
    record.put_progress(1, replace(attempt.progress, gpu=busier))
    assert main(["fit", folder.name, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    takes = {p["profile"]: p["takes"] for p in found["places"]}
    assert takes["mig-1g.10gb"] == pytest.approx(4.2)
    assert takes["h100"] == 1.0
    best = next(p for p in found["places"] if p["profile"] == found["recommended"]["profile"])
    assert all(Decimal(best["saves_hour"]) >= Decimal(p["saves_hour"]) for p in found["places"]
               if p["fits"])  # fmt: skip


def test_a_run_on_a_cpu_measures_nothing(desk: Desk) -> None:
    finished = desk.run(desk.plan(desk.counting()))
    [attempt] = finished.attempts()
    assert attempt.progress.gpu is None
    assert "gpu" not in row(attempt)
    with pytest.raises(UsageError) as caught:
        run(["fit", finished.name])
    assert caught.value.id == "fit-not-measured"
    with pytest.raises(UsageError) as unknown:
        run(["fit", "train-00000000"])
    assert unknown.value.id == "run-unknown"


def test_a_run_of_a_cluster_tells_by_its_termination_message() -> None:
    """What the pod's message holds comes back as the run's attempts have it."""
    usage = Usage(H100, 1, 80 * GIB, 6 * GIB, 3 * GIB, 5 * GIB, 0.13, 600)
    attempt = Attempt(
        Start(1, "uid", "pod", "node", 0, 100.0), Progress(last_step=5, updated=200.0, gpu=usage),
        End(Cause.FINISHED, 0, ended=200.0), Cause.FINISHED,
    )  # fmt: skip
    message = Message("train-1", Cause.FINISHED, 0, attempt=1, attempts=[attempt]).to_json()
    status = {"state": {"terminated": {"message": message.decode(), "exitCode": 0}}}
    pod = {
        "metadata": {"name": "p", "uid": "uid", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "status": {"phase": "Succeeded", "containerStatuses": [{"name": CONTAINER, **status}]},
    }  # fmt: skip
    view = read_view(JobState({"metadata": {"name": "train-1"}}), [PodState(pod)])
    assert [found.attempt.progress.gpu for found in view.attempts] == [usage]


def test_what_a_device_is_called_finds_it_in_the_catalog() -> None:
    catalog = load_catalog()
    for name, gpu in ((H100, "h100"), ("NVIDIA A100-SXM4-80GB", "a100-80gb"), ("Tesla T4", "t4")):
        found = catalog.gpu_of(name)
        assert found is not None
        assert found.name == gpu


def test_progress_of_an_older_record_has_no_gpu() -> None:
    assert Progress().gpu is None
