"""The rules of what a kill may cost are themselves held against made-up runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.exactness import check_losses

SLOW_DISK = "begins 3, busy 6, busy 7, busy 8, begins 9, busy 12, begins 13"
WHAT_HAPPENED = {
    "a save in flight puts off the next": (SLOW_DISK, 13),
    "the newest that was begun is lost": (SLOW_DISK, 9),
    "put off by the last batch, begun at the end of that epoch": ("begins 3, busy 6, begins 6", 6),
    "no memory yet when it was begun": ("begins 3, busy 3, begins 4, begins 6", 6),
}
WHAT_IS_WRONG = {
    "no save was begun where one was due": ("begins 3, begins 9", 9),
    "put off without a word": ("begins 3, busy 6, begins 8", 8),
    "a save before the newest two is what is left": ("begins 3, begins 6, begins 9", 3),
    "one that never was": ("begins 3, begins 6", 5),
    "one that was put off": ("begins 3, begins 6, busy 6", 6),
}


def check(tmp_path: Path, events: str, left: int) -> None:
    """Hold the rules against an attempt, killed at the step after its last safe point."""
    trace = tmp_path / "trace"
    lines = [f"1 {event}\n" for event in events.split(", ")]
    Path(f"{trace}.saves").write_text("".join(lines))
    reached = int(lines[-1].split()[-1])
    trace.write_text("".join(f"1 {step}\n" for step in range(1, reached + 2)))
    check_losses(trace, {1: 0, 2: left})


@pytest.mark.parametrize("what", WHAT_HAPPENED)
def test_what_has_to_happen_is_no_loss(tmp_path: Path, what: str) -> None:
    check(tmp_path, *WHAT_HAPPENED[what])


@pytest.mark.parametrize("what", WHAT_IS_WRONG)
def test_what_is_wrong_is_seen(tmp_path: Path, what: str) -> None:
    with pytest.raises(AssertionError):
        check(tmp_path, *WHAT_IS_WRONG[what])
