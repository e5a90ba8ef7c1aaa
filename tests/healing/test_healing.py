"""Verdicts that heal: what ``gpukit why`` prints is applied, and the real scheduler has the word.

100 clusters and jobs are broken at random, 1,000 with GPUKIT_SOAK; a third of them in two ways, and
one in six in none.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.build import NotBuilt, binaries

from .heal import THREADS, ground, heal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(7200)]

CASES = 1000 if os.environ.get("GPUKIT_SOAK") else 100
FIRST = 1


def test_what_is_printed_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        binaries()
    except NotBuilt as reason:
        pytest.skip(str(reason))
    monkeypatch.delenv("KUBECONFIG", raising=False)  # put back at the end
    with ground(tmp_path) as here, ThreadPoolExecutor(THREADS) as pool:
        outcomes = list(pool.map(lambda seed: heal(here, seed), range(FIRST, FIRST + CASES)))
    assert sum(len(outcome.faults) == 2 for outcome in outcomes) >= CASES / 4
    assert [outcome for outcome in outcomes if outcome.false_alarm] == []
    sick = [outcome for outcome in outcomes if not outcome.healed]
    assert len(sick) <= CASES / 100, "\n".join(str(outcome) for outcome in sick)
