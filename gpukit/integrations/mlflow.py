"""One MLflow run for all attempts, and no step logged twice.

::

    from gpukit.integrations.mlflow import tracked

    with tracked() as log:  # mlflow.start_run(), and in later attempts the same run again
        for batch in ckpt.batches(loader):
            ...
            log({"loss": loss}, step=ckpt.step)

``mlflow.start_run()`` alone goes on in the same run as well; but what an attempt that was killed
had logged after its last checkpoint is then there twice, since MLflow appends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlflow

from gpukit.runtime.context import current

__all__ = ["Log", "tracked"]

Log = Callable[..., None]


@contextmanager
def tracked(**options: Any) -> Iterator[Log]:
    """Open the run's MLflow run, and give a function that logs metrics at a step.

    On ranks other than 0 nothing is logged. An attempt that is interrupted leaves the MLflow run
    as failed; the next one opens it again.

    Args:
        options: as for ``mlflow.start_run``.
    """
    ctx = current()
    if ctx is not None and ctx.rank:
        yield lambda metrics, *, step: None
        return
    with mlflow.start_run(**options) as run:
        if ctx is not None:
            ctx.send({"event": "trackers", "ids": {"mlflow": run.info.run_id}})
        yield _Steps(run.info.run_id).log


class _Steps:
    """Logs to a run each metric of each step once."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._client = mlflow.MlflowClient()
        self._newest: dict[str, int] = {}

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log what is not there yet."""
        fresh = {name: float(value) for name, value in metrics.items() if step > self._last(name)}
        if fresh:
            mlflow.log_metrics(fresh, step=step)
            self._newest.update(dict.fromkeys(fresh, step))

    def _last(self, name: str) -> int:
        if name not in self._newest:
            history = self._client.get_metric_history(self._run, name)
            self._newest[name] = max((metric.step for metric in history), default=-1)
        return self._newest[name]
