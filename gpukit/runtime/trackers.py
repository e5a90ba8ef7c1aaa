"""Experiment trackers that go on where they were: each attempt of a run is one run to them, too.

Weights & Biases takes an id of ours. MLflow makes its ids itself, so the trainer notes the one that
is active, the run record keeps it, and later attempts find it in MLflow's own variable. Neither
needs a change of the user's code. Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .record import Attempt

__all__ = ["active_ids", "environment"]


def environment(
    run: str, attempts: Sequence[Attempt], known: Mapping[str, str], now: float
) -> dict[str, str]:
    """Return the variables by which trackers find their run; the user's own go before them.

    Args:
        run: name of the run.
        attempts: those before this one; the id names the first, so that a run begun afresh has
            an id of its own.
        known: what :func:`active_ids` noted in earlier attempts.
        now: unix seconds, the start of this attempt.
    """
    first = attempts[0].start.started if attempts else now
    found = {"WANDB_RUN_ID": f"{run}-{int(first)}", "WANDB_RESUME": "allow"}
    if "mlflow" in known:
        found["MLFLOW_RUN_ID"] = known["mlflow"]
    return found


def active_ids() -> dict[str, str]:
    """Return the ids of the runs that trackers have open in this process."""
    mlflow: Any = sys.modules.get("mlflow")
    active = getattr(mlflow, "active_run", None)
    run = active() if active is not None else None
    return {} if run is None else {"mlflow": str(run.info.run_id)}
