"""Why a run on a cluster ended without success: which budget, what happened, what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gpukit.quantity import format_money

from .view import RunView

__all__ = ["Ending", "ending_of"]


@dataclass(frozen=True)
class Ending:
    """Why, and what to do."""

    reason: str
    hint: str


def ending_of(view: RunView) -> Ending | None:
    """Return why the run failed; None where it has not."""
    job = view.job
    if job.phase != "failed":
        return None
    word, words = job.failure
    again = _again(view)
    if word == "MaxFailedIndexesExceeded":
        return Ending(
            f"max_preemptions={job.max_preemptions} used up: {job.burned} attempts were preempted",
            f"{again}; next time `gpukit extend {job.name} --preemptions +50` while it runs "
            "raises the budget",
        )
    if word == "DeadlineExceeded":
        return Ending(_deadline(view), f"{again}; a deadline counts the time in the queue too")
    said = str(view.message.get("reason") or "")
    if word == "PodFailurePolicy" and said:
        return Ending(said + _spent(view, said), _hint(said, view, again))
    if word in ("FailedIndexes", "BackoffLimitExceeded"):
        return Ending(
            f"Kubernetes gave up after {job.pods_ended} pods that ended or were turned away"
            + (f"; the last one: {said}" if said else ""),
            f"`gpukit logs {job.name}` and `gpukit events {job.name}` say more; {again}",
        )
    return Ending(
        said or words or word or "nobody said why", f"`gpukit events {job.name}`; {again}"
    )


def _again(view: RunView) -> str:
    if view.durable_step:
        return f"submit it again to go on from step {view.durable_step}, with new budgets"
    return "submit it again to retry, with new budgets"


def _deadline(view: RunView) -> str:
    task = view.job.task
    text = f"deadline={task.deadline} s" if task and task.deadline else "the deadline"
    if not view.attempts:
        return f"{text} has passed, and no attempt ever began (`gpukit events {view.job.name}`)"
    return f"{text} after the submission has passed"


def _spent(view: RunView, said: str) -> str:
    return f" ({format_money(view.cost)} in all)" if view.cost and "max_cost" not in said else ""


def _hint(said: str, view: RunView, again: str) -> str:
    name = view.job.name
    if "retries=" in said or "the same error" in said:
        return f"`gpukit logs {name}` has the traceback; {again}"
    for budget in ("max_cost", "timeout", "deadline"):
        if budget in said:
            return f"{again}; with another {budget}= add --resume-from {name}"
    return f"`gpukit logs {name}` says more; {again}"
