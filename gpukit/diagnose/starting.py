"""Verdicts on a pod that has a node: its image, what it mounts, its node, its sidecars."""

from __future__ import annotations

import difflib

from gpukit.contract import CONTAINER

from .case import Case
from .nodes import NodeFacts
from .snapshot import ContainerFacts, PodFacts, Reference
from .times import span
from .verdict import Fix, Verdict, kubectl, options, wait

__all__ = ["on_a_node", "silent_node"]

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
         "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed")  # fmt: skip
_DENIED = ("unauthorized", "denied", "authentication required", "403", "401", "no basic auth")
_AWAY = ("no such host", "timeout", "i/o", "connection refused", "tls", "x509", "503", "429")
_MESH = ("istio-proxy", "linkerd-proxy")
_STALE = 300.0  # seconds after which an event is of the past: the kubelet tries every 2 min
_TRIES, _FRESH = 3, 120.0  # a driver that comes up with its node fails once or twice, and then not
_LEFT = 30.0  # seconds that containers have to end after the main one
_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


def on_a_node(case: Case) -> Verdict | None:
    """Return why a pod that has a node does not run; None where it does, or is about to."""
    pod = case.pod
    if pod is None or not pod.node:
        return None
    for judge in (_node, _image, _reference, _volume, _config, _sidecar):
        verdict = judge(case, pod)
        if verdict is not None:
            return verdict
    return None


def silent_node(case: Case) -> Verdict | None:
    """Return that the Job waits for a pod on a node that nobody hears from; None for none."""
    for pod in case.live:
        node = case.node(pod.node) if pod.node else None
        if node is not None and node.ready is None:
            return _silence(case, pod, node)
    return None


def _node(case: Case, pod: PodFacts) -> Verdict | None:
    if not case.snapshot.saw("nodes"):
        return None
    node = case.node(pod.node)
    if node is None:
        return Verdict(
            "node-gone", f"the pod's node {pod.node} is gone",
            wait("Kubernetes ends its pods within a minute, and the next attempt begins"),
            waiting=True,
        )  # fmt: skip
    if node.ready is False and pod.phase == "Pending":
        return Verdict(
            "node-not-ready", f"the pod's node {node.name} is not ready",
            kubectl("see what it says", "describe", "node", node.name),
            tuple(str(taint) for taint in node.taints),
        )  # fmt: skip
    return _silence(case, pod, node) if node.ready is None else None


def _silence(case: Case, pod: PodFacts, node: NodeFacts) -> Verdict:
    ago = case.snapshot.ago(node.since)
    since = f" for {span(ago)}" if ago is not None else ""
    out = kubectl(
        "only when its machine is surely off, or cut off from its disks: the pod is then given up "
        "and the next attempt begins",
        "taint", "node", node.name, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    )  # fmt: skip
    gone = kubectl("when the machine does not exist any more", "delete", "node", node.name)
    going = pod.deleted is not None
    reason = f"the node {node.name} has been silent{since}"
    reason += ", and the Job waits for its pod there" if going else ""
    evidence = (
        f"{pod.name} is {'terminating' if going else pod.phase} there; no second pod may start "
        "while it might still write",
    )
    if not going:
        wait_for = wait(
            "if it does not come back, Kubernetes gives the pod up after its tolerationSeconds"
        )
        return Verdict("node-silent", reason, out, evidence, (wait_for, gone))
    return Verdict("node-silent", reason, out, evidence, (gone, wait("or the node comes back")))


def _image(case: Case, pod: PodFacts) -> Verdict | None:
    bad = next((c for c in pod.containers if c.state == "waiting" and c.reason in _PULL), None)
    if bad is None:
        return None
    image = pod.shape.images.get(bad.name) or bad.image
    words = _words(case, bad, "Failed")
    low = words.lower()
    evidence = (f"{bad.reason}: {words}" if words else bad.reason,)
    own = bad.name == CONTAINER
    if any(word in low for word in _DENIED):
        secrets = ", ".join(case.snapshot.secrets)
        there = (f"Secrets of the namespace: {secrets}",) if secrets else ()
        make = kubectl(
            "credentials of the registry, then image_pull_secrets=[\"registry\"]; "
            "some registries say the same of an image that does not exist",
            "create", "secret", "docker-registry", "registry", "--docker-server",
            image.partition("/")[0], "--docker-username=$REGISTRY_USER",
            "--docker-password=$REGISTRY_PASSWORD", admin=False,
        )  # fmt: skip
        return Verdict("image-denied", f"the registry does not give out {image}", make,
                       (*evidence, *there))  # fmt: skip
    if any(word in low for word in _AWAY) and "not found" not in low:
        return Verdict(
            "registry-unreachable", f"the node {pod.node} cannot reach the registry of {image}",
            Fix("advice", "use a registry that the cluster reaches, or let the nodes out to it"),
            evidence,
        )  # fmt: skip
    default = options("an image that exists; this is gpukit's own default", image=None)
    fix = (
        default if own and case.declared.get("image") else Fix("advice", "correct its name or tag")
    )
    return Verdict("image-not-found", f"there is no image {image}", fix, evidence)


def _reference(case: Case, pod: PodFacts) -> Verdict | None:
    if pod.phase != "Pending":
        return None
    for reference in pod.shape.references:
        if (reference.kind, reference.name) in case.snapshot.missing:
            return _missing(case, reference)
        absent = f'{reference.kind.lower()} "{reference.name}" not found'
        if any(absent in container.message for container in pod.containers):
            return _missing(case, reference)
        if reference.key and (said := _lacks_key(pod, reference)):
            return _missing(case, reference, said)
    return None


def _lacks_key(pod: PodFacts, reference: Reference) -> str:
    """Return the kubelet's words on a key that is not in the Secret; gpukit reads no Secret."""
    needle = f"couldn't find key {reference.key} in {reference.kind} "
    found = (
        c.message for c in pod.containers if needle in c.message and reference.name in c.message
    )
    return next(found, "")


def _missing(case: Case, reference: Reference, said: str = "") -> Verdict:
    what, name = reference.kind, reference.name
    space = case.snapshot.namespace
    reason = f"there is no {what} {name!r} in {space}"
    if said:
        reason = f"the {what} {name!r} has no key {reference.key!r}"
    near = next(iter(difflib.get_close_matches(name, case.snapshot.secrets, 1, 0.75)), None)
    key = reference.key or "key"
    value = f"${reference.variable}" if reference.variable.isidentifier() else "$VALUE"
    noun = ("secret", "generic") if what == "Secret" else ("configmap",)
    text = "make it; the shell fills in the value, which is never printed"
    make = kubectl(text, "create", *noun, name, f"--from-literal={key}={value}", admin=False)
    if said:
        patch = f'{{"stringData":{{"{key}":"…"}}}}'
        make = kubectl(
            "add the key", "patch", noun[0], name, "--type=merge", "-p", patch, admin=False
        )
        return Verdict("key-missing", reason, Fix("advice", make.text), (said,), (make,))
    evidence = () if not case.snapshot.secrets or what != "Secret" else (
        f"Secrets that are there: {', '.join(case.snapshot.secrets)}",
    )  # fmt: skip
    if name.startswith("gpukit-code-"):
        return Verdict(
            "code-missing", f"the ConfigMap with the code, {name}, is gone",
            Fix("advice", "submit again: the code is uploaded again"), evidence,
        )  # fmt: skip
    declared = case.declared.get("secrets") or {}
    if near and declared.get(reference.variable) == f"{name}/{reference.key}":
        fix = options("the Secret that is there", secrets={reference.variable: f"{near}/{key}"})
        return Verdict(f"{what.lower()}-missing", reason, fix, evidence, (make,))
    return Verdict(f"{what.lower()}-missing", reason, make, evidence)


def _volume(case: Case, pod: PodFacts) -> Verdict | None:
    if pod.phase != "Pending":
        return None
    event = next(iter(case.events("FailedAttachVolume", "FailedMount")), None)
    if event is None or any(c.state == "running" for c in pod.containers):
        return None
    ago = case.snapshot.ago(event.seen) or 0.0
    if ago > _STALE:
        return None
    if "Multi-Attach" in event.message:
        holders = [
            p.title for p in case.snapshot.pods
            if p.namespace == pod.namespace and not p.ended and p.name != pod.name
            and set(p.shape.claims) & set(pod.shape.claims)
        ]  # fmt: skip
        evidence = (f"used by {', '.join(holders) or 'a pod that is gone'}", event.message)
        return Verdict(
            "volume-attached-elsewhere", "a volume of the pod is still attached to another node",
            wait("it is detached when the other pod is gone, in 6 minutes at most"), evidence,
            waiting=True,
        )  # fmt: skip
    if event.count < _TRIES and case.waited < _FRESH:
        return None
    return Verdict(
        "volume-not-mounted", "a volume of the pod cannot be mounted",
        Fix("advice", "see what its driver says"), (event.message,),
    )  # fmt: skip


def _config(case: Case, pod: PodFacts) -> Verdict | None:
    bad = next((c for c in pod.containers if c.state == "waiting" and c.reason in _CONFIG), None)
    if bad is None:
        return None
    return Verdict(
        "container-not-created", f"the container {bad.name!r} cannot be created",
        Fix("advice", "change what it names"), (f"{bad.reason}: {_words(case, bad, 'Failed')}",),
    )  # fmt: skip


def _sidecar(case: Case, pod: PodFacts) -> Verdict | None:
    main = next((c for c in pod.containers if c.name == CONTAINER), None)
    if main is None or main.state != "terminated":
        return None
    left = [c for c in pod.containers if c.state == "running" and not c.native and c is not main]
    ago = case.snapshot.ago(main.ended or pod.started) or 0.0
    if not left or ago < _LEFT:
        return None
    name = left[0].name
    evidence = (
        f"main ended with {main.exit_code}; still running: {', '.join(c.name for c in left)}",
    )
    reason = f"the job has ended, and the sidecar {name!r} keeps its pod from ending"
    stop = kubectl("end it now", "exec", pod.name, "-c", name, "--", "kill", "1", admin=False)
    if name == "istio-proxy":
        stop = kubectl("end it now", "exec", pod.name, "-c", name, "--", "pilot-agent", "request",
                       "POST", "quitquitquit", admin=False)  # fmt: skip
    if name not in _MESH or (case.job and name in case.job.shape.containers):
        text = 'next time, put it into initContainers with restartPolicy: "Always"'
        return Verdict("sidecar-runs-on", reason, stop, evidence, (Fix("advice", text),))
    label = {"istio-proxy": {"sidecar.istio.io/inject": "false"}}.get(name)
    next_time = (
        options("next time, no sidecar of the mesh", labels=label) if label else
        options("next time, no sidecar of the mesh", annotations={"linkerd.io/inject": "disabled"})
    )  # fmt: skip
    return Verdict("sidecar-runs-on", reason, stop, evidence, (next_time,))


def _words(case: Case, container: ContainerFacts, *reasons: str) -> str:
    """Return what is said of a container; the back-off hides it, an event has it."""
    if container.message and "Back-off" not in container.message:
        return container.message
    said = [e.message for e in case.events(*reasons) if e.message and "Error:" not in e.message[:6]]
    return said[0] if said else container.message
