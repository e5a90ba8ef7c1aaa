"""SIGKILL at random moments, most of them in a save; `make chaos` does it a thousand times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.exactness import PATCHES

pytestmark = pytest.mark.e2e
KILLS = int(os.environ.get("GPUKIT_CHAOS", "200"))


def chaos(root: Path, kills: int, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.runtime.chaos", str(kills), "--root", str(root)]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == bool(report["problems"])
    return report


@pytest.mark.timeout(3600)
def test_no_kill_costs_more_than_time(tmp_path: Path) -> None:
    report = chaos(tmp_path, KILLS)
    assert report["problems"] == []
    assert report["kills"] == KILLS
    assert report["in_a_save"] >= 0.6 * KILLS
    assert report["restores"] >= 0.5 * KILLS


@pytest.mark.timeout(1200)
def test_it_is_noticed_when_any_one_part_of_the_restore_is_missing(tmp_path: Path) -> None:
    report = chaos(tmp_path, 5, "--without", "all")
    assert set(report["noticed"]) == PATCHES.keys() - {"none"}
