"""Every platform's jobs over its fleet of nodes: nothing is said where the scheduler places them.

That it does is shown by tests/cluster/test_scheduling.py, on the same nodes and the same jobs.
"""

from __future__ import annotations

from typing import Any

import pytest

from gpukit.diagnose import Verdict
from tests.cluster.fleet import KINDS, fleet
from tests.diagnose.scene import Scene
from tests.golden.platforms import PLATFORM_CASES

_KINDS = dict(zip(("full", "mig", "shared", "multi"), (*KINDS, "whole"), strict=True))
_TRUE = {
    "resource-nowhere", "too-many-gpus", "spot-mismatch", "too-big", "platform-mismatch",
    "selector-matches-nothing",
}  # fmt: skip


def judged(nodes: list[dict[str, Any]], options: dict[str, Any]) -> Verdict | None:
    scene = Scene(*nodes, **options)
    for node in scene.nodes:
        node["status"]["allocatable"]["pods"] = "110"
    return scene.verdict()


@pytest.mark.parametrize("case", PLATFORM_CASES)
def test_nothing_is_said_of_a_job_that_has_its_nodes(case: str) -> None:
    assert judged(fleet(case.partition("/")[0]), PLATFORM_CASES[case]) is None


@pytest.mark.parametrize("case", PLATFORM_CASES)
def test_the_truth_is_said_when_the_right_nodes_are_gone(case: str) -> None:
    platform, _, name = case.partition("/")
    kind = _KINDS[name.partition("-")[0]]
    left = [
        node for node in fleet(platform)
        if node["metadata"]["name"] not in (f"{kind}-spot", f"{kind}-demand")
    ]  # fmt: skip
    verdict = judged(left, PLATFORM_CASES[case])
    assert verdict is not None
    assert verdict.id in _TRUE


@pytest.mark.parametrize("case", PLATFORM_CASES)
def test_the_printed_profile_is_placed(case: str) -> None:
    """Apply what is printed, up to three times, as tests/healing does on the real scheduler."""
    platform, _, name = case.partition("/")
    kind = _KINDS[name.partition("-")[0]]
    left = [n for n in fleet(platform) if not n["metadata"]["name"].startswith(f"{kind}-")]
    options = dict(PLATFORM_CASES[case])
    for _ in range(3):
        verdict = judged(left, options)
        if verdict is None:
            return
        fixes = [f for f in (verdict.fix, *verdict.others) if f.kind == "options"]
        assert fixes, f"{verdict.id}: {verdict.fix.text}"
        for option, value in fixes[0].options.items():
            if value is None:
                options.pop(option, None)
            elif option == "node_selector":
                merged = {**options.get(option, {}), **value}
                options[option] = {k: v for k, v in merged.items() if v is not None}
            else:
                options[option] = value
    assert judged(left, options) is None
