from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.local import Desk
from tests.runtime.pod import Run


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Make a run of a job with this source; what still runs at the end is killed."""
    runs: list[Run] = []

    def make(source: str, **task: Any) -> Run:
        root = tmp_path / f"run-{len(runs) + 1}"
        runs.append(Run(root, source, task))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A person's folder, and a home for local runs; what still runs at the end is killed."""
    desk = Desk(tmp_path)
    yield desk
    desk.close()
