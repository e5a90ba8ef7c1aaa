"""Objects that are no pods, with one mistake each, and their near misses, by rule."""

from __future__ import annotations

__all__ = ["BAD", "GOOD"]


def vpa(kind: str, *more: str) -> str:
    return "\n".join([
        "apiVersion: autoscaling.k8s.io/v1", "kind: VerticalPodAutoscaler",
        "metadata: {name: train}", "spec:",
        f"  targetRef: {{apiVersion: batch/v1, kind: {kind}, name: train}}", *more, "",
    ])  # fmt: skip


def config(*lines: str, key: str = "config.yaml") -> str:
    return "\n".join([
        "apiVersion: v1", "kind: ConfigMap", "metadata: {name: nvidia}", "data:", f"  {key}: |",
        *(f"    {line}" for line in lines), "",
    ])  # fmt: skip


def sharing(method: str, resource: str, replicas: int, *more: str) -> str:
    return config(
        "version: v1", "sharing:", f"  {method}:", *(f"    {line}" for line in more),
        "    resources:", f"    - {{name: {resource}, replicas: {replicas}}}",
    )  # fmt: skip


def parted(slices: str) -> str:
    return config(
        "version: v1", "mig-configs:", "  mine:",
        f"  - {{devices: all, mig-enabled: true, mig-devices: {slices}}}",
    )  # fmt: skip


def policy(default: str) -> str:
    return f"""
apiVersion: nvidia.com/v1
kind: ClusterPolicy
metadata: {{name: cluster-policy}}
spec:
  migManager:
    config: {{name: default-mig-parted-config, default: {default}}}
"""


def alert(expr: str) -> str:
    return f"""
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {{name: idle}}
spec:
  groups:
  - name: gpu
    rules:
    - alert: GpuIdle
      expr: '{expr}'
"""


def quota(name: str) -> str:
    return (
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: gpus}\nspec:\n  hard:\n"
        f'    {name}: "8"\n'
    )


def required(*labels: str) -> str:
    items = "\n".join(f"    - {label}" for label in labels)
    return (
        "apiVersion: constraints.gatekeeper.sh/v1beta1\nkind: K8sRequiredLabels\n"
        f"metadata: {{name: labels}}\nspec:\n  parameters:\n    labels:\n{items}\n"
    )


def update(mode: str) -> str:
    return f"  updatePolicy: {{updateMode: {mode}}}"


_TOKEN = "hf_" + "aBcD1234" * 5
_OFF = "  resourcePolicy: {containerPolicies: [{containerName: '*', mode: 'Off'}]}"
_RENAMED = ("renameByDefault: true", "failRequestsGreaterThanOne: true")

BAD: dict[str, list[str]] = {
    "GK008": [vpa("Job", update("Auto")), vpa("CronJob"), vpa("PyTorchJob", update("Recreate"))],
    "GK014": [config(f"token = {_TOKEN}", key="settings.toml")],
    "GK018": [policy("all-1g.10gb")],
    "GK026": [
        parted("{1g.10gb: 8}"),
        parted("{3g.40gb: 2, 1g.10gb: 1}"),
        parted("{4g.40gb: 1, 3g.40gb: 1, 1g.10gb: 1}"),
    ],
    "GK027": [
        sharing("timeSlicing", "nvidia.com/gpu", 1, *_RENAMED),
        sharing("mps", "nvidia.com/mig-1g.10gb", 4),
    ],
    "GK028": [sharing("timeSlicing", "nvidia.com/gpu", 4)],
    "GK033": [vpa("Job", update("Off"))],
    "GK034": [
        quota("limits.nvidia.com/gpu"),
        required("nvidia.com/gpu"),
        required("{key: nvidia.com/gpu}"),
        required("team"),
    ],
    "GK035": [
        alert("avg_over_time(DCGM_FI_DEV_GPU_UTIL[6h]) < 10"),
        alert('DCGM_FI_DEV_GPU_UTIL{namespace="a"} < 10'),
    ],
}

GOOD: dict[str, list[str]] = {
    "GK008": [
        vpa("Job", update('"Off"')),
        vpa("Job", update("Initial")),
        vpa("Deployment", update("Auto")),
        vpa("Job", update("Auto"), _OFF),
    ],
    "GK014": [config("epochs = 3", key="settings.toml")],
    "GK018": [policy("all-balanced"), policy("all-disabled")],
    "GK026": [
        parted("{1g.10gb: 7}"),
        parted("{3g.40gb: 2}"),
        parted("{4g.40gb: 1, 3g.40gb: 1}"),
        parted("{2g.20gb: 3, 1g.10gb: 1}"),
        parted("{1g.10gb: 2, 2g.20gb: 1, 3g.40gb: 1}"),
        parted("{9g.999gb: 1}"),
    ],
    "GK027": [
        sharing("timeSlicing", "nvidia.com/gpu", 4, *_RENAMED),
        sharing("timeSlicing", "nvidia.com/mig-1g.10gb", 2, *_RENAMED),
        sharing("mps", "nvidia.com/gpu", 4),
    ],
    "GK028": [
        sharing("timeSlicing", "nvidia.com/gpu", 4, *_RENAMED),
        sharing("mps", "nvidia.com/gpu", 4),
    ],
    "GK033": [vpa("Job", update('"Off"')), vpa("Job")],
    "GK034": [
        quota("requests.nvidia.com/gpu"),
        quota("limits.memory"),
        required("{key: team}"),
    ],
    "GK035": [
        alert("avg_over_time(DCGM_FI_PROF_GR_ENGINE_ACTIVE[6h]) < 0.1"),
        alert('DCGM_FI_DEV_GPU_UTIL{GPU_I_PROFILE=""} < 10'),
        alert("DCGM_FI_DEV_GPU_UTIL > 95"),
    ],
}
