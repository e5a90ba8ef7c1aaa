"""The Job whose indexes are attempts.

The first index that succeeds completes the Job. A preempted attempt burns its index, so that the
next one starts at once and is not charged; a crash stays on its index and is retried with
Kubernetes' own back-off; :data:`gpukit.ladder.FAIL_JOB_CODES` end the Job. Needs Kubernetes 1.31:
older servers drop ``successPolicy``.
"""

from __future__ import annotations

from gpukit.contract import CONTAINER
from gpukit.ladder import FAIL_INDEX_CODES, FAIL_JOB_CODES
from gpukit.placement import Placement
from gpukit.spec import JobSpec

from .objects import (
    FailureRule,
    JobDetail,
    OnExitCodes,
    OnPodCondition,
    PodFailurePolicy,
    SuccessPolicy,
    SuccessRule,
)
from .pods import PodTemplate

__all__ = ["attempt_ladder"]

_MOST_ATTEMPTS = 1000
_RETRY_HEADROOM = 10
"""Kubernetes also charges pods that a kubelet turned away; the run record knows better, so the
runtime judges ``retries`` and Kubernetes' own limit is the backstop."""


def attempt_ladder(spec: JobSpec, placement: Placement, template: PodTemplate) -> JobDetail:
    """Return the spec of the Job."""
    return JobDetail(
        completion_mode="Indexed",
        parallelism=1,
        completions=max(_MOST_ATTEMPTS, spec.max_preemptions + 1),
        success_policy=SuccessPolicy(rules=(SuccessRule(succeeded_count=1),)),
        max_failed_indexes=spec.max_preemptions,
        backoff_limit_per_index=spec.retries + (_RETRY_HEADROOM if placement.durable else 0),
        pod_failure_policy=PodFailurePolicy(
            rules=(  # the first that matches is applied
                FailureRule(action="FailJob", on_exit_codes=_exits(FAIL_JOB_CODES)),
                FailureRule(
                    action="FailIndex",
                    on_pod_conditions=(OnPodCondition(type="DisruptionTarget"),),
                ),
                FailureRule(action="FailIndex", on_exit_codes=_exits(FAIL_INDEX_CODES)),
            )
        ),
        pod_replacement_policy="Failed",  # two pods never write one directory
        active_deadline_seconds=spec.deadline,
        ttl_seconds_after_finished=spec.ttl,
        template=template,
    )


def _exits(codes: tuple[int, ...]) -> OnExitCodes:
    return OnExitCodes(container_name=CONTAINER, operator="In", values=tuple(sorted(codes)))
