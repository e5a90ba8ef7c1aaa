from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

pytest_plugins = ("tests.cluster.fixtures",)

# Threads that spin for work only slow the other processes of a test run down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is, and nothing of the code.
# The examples are the same each time, so that a change breaks a test where it is made: `make soak`
# looks for others.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="GPUKIT_SOAK" not in os.environ,
)  # fmt: skip
hypothesis.settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def _leave_no_settings() -> Iterator[None]:
    """Fail a test that leaves variables behind: what comes next in this process obeys them."""
    before = _settings()
    yield
    assert _settings() == before


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("GPUKIT_")}


@pytest.fixture(autouse=True)
def _forget_job_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget the job files that a test has imported: the next one's have the same names."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    temporary = f"{tmp_path_factory.getbasetemp()}{os.sep}"
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(temporary):
            del sys.modules[name]
