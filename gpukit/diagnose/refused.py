"""Verdicts on pods that the API server does not let the Job make: only the Job's events say so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gpukit.errors import did_you_mean

from .amounts import amounts, exact, show
from .case import Case
from .snapshot import QuotaFacts
from .verdict import Fix, Verdict, kubectl, options, wait

__all__ = ["refused"]

_POD_COUNTS = ("count/pods", "pods")
_OPTION = {"cpu": "cpu", "memory": "memory"}
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)'")
_WEBHOOK = re.compile(r'admission webhook "([^"]+)"')
_LEVEL = re.compile(r'violates PodSecurity "([^":]+)(?::[^"]*)?": (.*)')
_QUOTA = re.compile(r"exceeded quota: ([^,]+), requested: (.*), used: (.*), limited: (.*)")
_MOST = re.compile(
    r"maximum (\S+) usage per (Container|Pod) is ([^,.\s]+)"
    r"(?:, but (?:limit|request) is ([^,\s\]]+))?"
)
_DEFAULTED = re.compile(
    r'resources\.requests: Invalid value: "([^"]+)": must be less than or equal to (\S+) limit of '
    r"(\S+)"
)
_ACCOUNT = re.compile(r"serviceaccount \"?([^\" ]+)\"? not found")
_CLASS = re.compile(r"no PriorityClass with name (\S+) was found")


def refused(case: Case) -> Verdict | None:
    """Return why the Job's pods are refused; None where none is, or where it has a pod."""
    job = case.job
    if job is None or case.live or job.ended or job.suspended:
        return None
    event = next(iter(case.events("FailedCreate", of=job)), None)
    if event is None:
        return None
    for judge in (_quota, _limit_range, _security, _account, _priority, _policy):
        verdict = judge(case, event.message)
        if verdict is not None:
            return verdict
    return Verdict(
        "pod-refused", "the API server refuses the Job's pods",
        Fix("advice", "change what it names"), (event.message,),
    )  # fmt: skip


def _quota(case: Case, words: str) -> Verdict | None:
    found = _QUOTA.search(words)
    if found is None:
        return _quota_wants(case, words)
    name = found[1].strip()
    quota = next((q for q in case.snapshot.quotas if q.name == name), None)
    quota = quota or QuotaFacts(name, _amounts(found[4]), _amounts(found[3]))
    asked = _amounts(found[2])
    short = {
        r: count for r, count in asked.items()
        if r in quota.hard and count > quota.hard[r] - quota.used.get(r, 0)
    }  # fmt: skip
    if not short:  # it has room again, and the Job controller tries again by itself
        return Verdict(
            "quota-freed", f"the quota {name!r} was full and has room again",
            wait("the Job controller tries again, at intervals that grow to some minutes"),
            (words,), waiting=True,
        )  # fmt: skip
    evidence = tuple(
        f"{r}: asked for {show(r, count)}, used {show(r, quota.used.get(r, 0))} of "
        f"{show(r, quota.hard[r])}"
        for r, count in short.items()
    )
    resource = next(iter(short))
    if resource in _POD_COUNTS:
        return _too_many_pods(case, quota, resource, evidence)
    raised = {r: exact(r, quota.used.get(r, 0) + count) for r, count in short.items()}
    raising = kubectl("raise the quota", *_patch(quota.name, raised))
    smaller = _smaller(quota, short)
    if smaller is not None:
        return Verdict(
            "quota-full", f"the quota {name!r} does not allow it", smaller, evidence, (raising,)
        )
    patience = wait("wait until another run of the namespace ends")
    others = (patience,) if quota.used.get(resource, 0) else ()
    return Verdict("quota-full", f"the quota {name!r} does not allow it", raising, evidence, others)


def _smaller(quota: QuotaFacts, short: Mapping[str, int]) -> Fix | None:
    """Return the fix that asks for what is left, where that is at least half of what is wanted."""
    room: dict[str, int] = {}
    for resource, count in short.items():
        option = _OPTION.get(resource.rpartition(".")[2])
        left = quota.hard[resource] - quota.used.get(resource, 0)
        if option is None or left < count / 2:
            return None
        step = 100 if option == "cpu" else 2**20
        room[option] = min(left // step * step, room.get(option, left))
    values = {option: exact(option, left) for option, left in room.items()}
    return options("what the quota has left", **values)


def _too_many_pods(
    case: Case, quota: QuotaFacts, resource: str, evidence: tuple[str, ...]
) -> Verdict:
    ended = [p for p in case.snapshot.pods if p.namespace == case.snapshot.namespace and p.ended]
    more = max(quota.hard[resource] + 1, quota.used.get(resource, 0) + 1)
    raising = kubectl("raise the quota", *_patch(quota.name, {resource: str(more)}))
    if resource == "pods" or not ended:
        return Verdict(
            "quota-full", f"the quota {quota.name!r} allows no more pods", raising, evidence
        )
    failed = [pod for pod in ended if pod.phase == "Failed"]
    phase = "Failed" if failed else "Succeeded"
    clearing = kubectl(
        f"delete the pods that have {phase.lower()}; their logs go with them, what gpukit keeps in "
        "the run's store stays",
        "delete", "pods", f"--field-selector=status.phase={phase}", admin=False,
    )  # fmt: skip
    evidence = (
        *evidence,
        f"{len(failed)} failed pods count, {len(ended) - len(failed)} finished ones",
    )
    return Verdict(
        "pod-count-full", f"the quota {quota.name!r} on count/pods is full of pods that have ended",
        clearing, evidence, (raising,),
    )  # fmt: skip


def _quota_wants(case: Case, words: str) -> Verdict | None:
    """Judge a quota on something that the pod does not say, such as a limit of CPU."""
    found = re.search(r"failed quota: ([^:]+): must specify (.+)", words)
    if found is None:
        return None
    wanted = [part.partition(" for:")[0].strip() for part in found[2].split(";")]
    if wanted == ["limits.cpu"]:
        cpu = exact("cpu", case.shape.requests.get("cpu", 2000))
        fix = options("a limit of CPU, as the quota asks for", pod=_with_cpu_limit(case, cpu))
    else:
        fix = Fix(
            "advice", f"say {', '.join(wanted)} in pod=, or ask for a LimitRange with defaults"
        )
    return Verdict(
        "quota-wants", f"the quota {found[1]!r} asks every pod for {found[2]}", fix, (words,)
    )


def _limit_range(case: Case, words: str) -> Verdict | None:
    """Judge a LimitRange; its words are those of plugin/pkg/admission/limitranger."""
    found = _MOST.findall(words)
    defaulted = _DEFAULTED.search(words)
    if defaulted is not None:  # its maximum was filled in as the limit, and the request is more
        found = [(defaulted[2], "Container", defaulted[3], defaulted[1])]
    if not found:
        return None
    resource, per, most, asked = found[0]
    reason = f"a LimitRange of the namespace allows {most} of {resource} per {per}"
    reason += f", and the pod asks for {asked}" if asked else ", and wants a limit of it"
    smaller: dict[str, Any] = {}
    for name, _, amount, _ in found:
        if name in _OPTION:
            smaller[_OPTION[name]] = amount
    see = kubectl("see what it allows", "get", "limitrange", "-o", "yaml", admin=False)
    if not asked and resource == "cpu":
        fix = options("a limit of CPU, and no more", cpu=most, pod=_with_cpu_limit(case, most))
        return Verdict("limit-range", reason, fix, (words,), (see,))
    if not smaller:
        advice = Fix("advice", f"ask for at most {most} of {resource}")
        return Verdict("limit-range", reason, advice, (words,), (see,))
    fix = Fix("options", "ask for what it allows", options=smaller)
    return Verdict("limit-range", reason, fix, (words,), (see,))


def _with_cpu_limit(case: Case, cpu: str) -> dict[str, Any]:
    pod = dict(case.declared.get("pod") or {})
    pod["containers"] = [{"name": "main", "resources": {"limits": {"cpu": cpu}}}]
    return pod


def _patch(name: str, hard: Mapping[str, str]) -> tuple[str, ...]:
    patch = json.dumps({"spec": {"hard": dict(hard)}}, separators=(",", ":"))
    return ("patch", "resourcequota", name, "--type=merge", "-p", patch)


def _amounts(text: str) -> dict[str, int]:
    pairs = (part.partition("=") for part in text.split(","))
    return amounts({name.strip(): value.strip() for name, equals, value in pairs if equals})


_FIELDS = {  # words of PodSecurity, and the field of a pod override that causes them
    "host namespaces": ("hostNetwork", "hostPID", "hostIPC"),
    "hostPath volumes": ("volumes",),
    "restricted volume types": ("volumes",),
    "privileged": ("containers", "initContainers"),
    "runAsNonRoot": ("securityContext", "containers", "initContainers"),
    "runAsUser": ("securityContext", "containers", "initContainers"),
    "allowPrivilegeEscalation": ("containers", "initContainers"),
    "unrestricted capabilities": ("containers", "initContainers"),
    "non-default capabilities": ("containers", "initContainers"),
    "seccompProfile": ("securityContext", "containers", "initContainers"),
    "hostPort": ("containers", "initContainers"),
}


def _security(case: Case, words: str) -> Verdict | None:
    found = _LEVEL.search(words)
    if found is None:
        return None
    level, detail = found.groups()
    override = dict(case.declared.get("pod") or {})
    guilty = [
        field for word, fields in _FIELDS.items() if word in detail
        for field in fields if field in override
    ]  # fmt: skip
    needed = "privileged" if case.shape.host else "baseline"
    relabel = kubectl(
        f"let the namespace run such pods (PodSecurity {needed})", "label", "namespace",
        case.snapshot.namespace, f"pod-security.kubernetes.io/enforce={needed}", "--overwrite",
    )  # fmt: skip
    reason = f"the namespace enforces PodSecurity {level!r}, and the Job's pods violate it"
    if not guilty:
        return Verdict("pod-security", reason, relabel, (detail,))
    rest = {key: value for key, value in override.items() if key not in guilty}
    without = options(
        f"the pod without the override of {', '.join(dict.fromkeys(guilty))}: what gpukit renders "
        "by itself is allowed", pod=rest or None,
    )  # fmt: skip
    return Verdict("pod-security", reason, without, (detail,), (relabel,))


def _account(case: Case, words: str) -> Verdict | None:
    found = _ACCOUNT.search(words)
    if found is None:
        return None
    name = found[1].rpartition("/")[2]
    make = kubectl("make it", "create", "serviceaccount", name)
    near = did_you_mean(name, case.snapshot.accounts) if case.snapshot.accounts else ""
    evidence = (words, near) if near else (words,)
    if case.declared.get("service_account") == name:
        fix = options(
            "run under the default account: gpukit's pods need none", service_account=None
        )
        return Verdict(
            "account-missing", f"there is no service account {name!r}", fix, evidence, (make,)
        )
    return Verdict("account-missing", f"there is no service account {name!r}", make, evidence)


def _priority(case: Case, words: str) -> Verdict | None:
    found = _CLASS.search(words)
    if found is None:
        return None
    there = ", ".join(
        f"{name} ({value})" for name, value in sorted(case.snapshot.priorities.items())
        if not name.startswith("system-")
    )  # fmt: skip
    fix = options("run at the default priority", priority=None)
    make = kubectl("make it", "create", "priorityclass", found[1], "--value=1000")
    evidence = (f"classes: {there or 'none'}",)
    return Verdict(
        "priority-missing", f"there is no PriorityClass {found[1]!r}", fix, evidence, (make,)
    )


def _policy(case: Case, words: str) -> Verdict | None:
    policy, webhook = _POLICY.search(words), _WEBHOOK.search(words)
    if policy is None and webhook is None:
        return None
    if policy is not None:
        who, said = (
            f"the ValidatingAdmissionPolicy {policy[1]!r}",
            words.partition("denied request: ")[2],
        )
        see = kubectl("read its rules", "get", "validatingadmissionpolicy", policy[1], "-o", "yaml")
    else:
        name = webhook[1] if webhook else ""
        who, said = f"the admission webhook {name!r}", words.partition("denied the request: ")[2]
        see = kubectl("see whose it is", "get", "validatingwebhookconfigurations", "-o", "wide")
    return Verdict(
        "policy-refuses", f"{who} refuses the Job's pods",
        Fix("advice", f"do what it asks: {said or words}"), (words,), (see,),
    )  # fmt: skip
