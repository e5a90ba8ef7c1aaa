"""Whose money it is, where the data is, and guards that guard nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from gpukit.lint.documents import Manifest, dig, listing, mapping, path_text, put
from gpukit.lint.jobs import JobFacts, options_fix
from gpukit.lint.model import Edit, Fix, Hit, Steps
from gpukit.lint.workloads import Context, Workload

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_OWNER = ("team", "owner", "department", "squad", "group", "business-unit")
_BUDGET = ("cost-center", "cost-centre", "costcenter", "cost_center", "project", "billing",
           "budget", "cost-code")  # fmt: skip
_ADDED = {"team": "my-team", "cost-center": "my-cost-center"}
_BUCKET = re.compile(r"[./]s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com")
_SCHEMES = {"gs": "Google Cloud", "az": "Azure", "abfs": "Azure", "abfss": "Azure"}
_SCHEME = re.compile(r"\b(gs|az|abfss?)://")
_CLOUDS = {
    "cloud.google.com/gke-": "Google Cloud", "eks.amazonaws.com/": "AWS",
    "karpenter.k8s.aws/": "AWS", "kubernetes.azure.com/": "Azure",
    "karpenter.azure.com/": "Azure",
}  # fmt: skip
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)[a-z]?")
_REGION_LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
_UTIL = re.compile(r"DCGM_FI_DEV_GPU_UTIL(\{[^}]*\})?")
_WHOLE_ONLY = re.compile(r'GPU_I_(PROFILE|ID)="')


def _missing(keys: Iterable[str]) -> dict[str, str]:
    plain = {key.rpartition("/")[2].lower() for key in keys}
    kinds = {"team": _OWNER, "cost-center": _BUDGET}
    return {name: _ADDED[name] for name, known in kinds.items() if not plain & set(known)}


def no_labels_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK011."""
    given = {"team": job.spec.team, "cost-center": job.spec.cost_center}
    missing = _missing([*job.spec.labels, *(key for key, value in given.items() if value)])
    if missing and job.placement.resource_name is not None:
        options = {name.replace("-", "_"): value for name, value in missing.items()}
        yield Hit(f"no {' and no '.join(missing)}", options_fix(**options),
                  option=next(iter(options)))  # fmt: skip


def no_labels(load: Workload, context: Context) -> Iterator[Hit]:
    """GK011."""
    missing = _missing(load.labels)
    if not load.gpus or not missing:
        return
    own = mapping(dig(load.root, "metadata", "labels"))
    elsewhere = bool(load.template) and not set(_missing(own)) & set(missing)
    note = f", only on the {load.manifest.kind}" if elsewhere else ""
    at: Steps = (*load.template, "metadata", "labels")
    there = dict(load.labels)
    edit = put(load.root, at, {**there, **missing})
    yield Hit(f"no label {' and no label '.join(missing)} on the pod{note}",
              Fix(f"{path_text(at)}: "
                  f"{{{', '.join(f'{k}: {v}' for k, v in missing.items())}}}, with your own names",
                  patch=(edit,)), at=at)  # fmt: skip


def _far(texts: Sequence[str], env: Sequence[tuple[str, str]], labels: Sequence[tuple[str, str]]
         ) -> tuple[str, str] | None:  # fmt: skip
    """Return where the data is and where the job runs; None where both may be the same."""
    if any("ENDPOINT" in name.upper() for name, _ in env):
        return None
    clouds = (c for key, _ in labels for start, c in _CLOUDS.items() if key.startswith(start))
    cloud = next(clouds, None)
    schemes = [_SCHEMES[found[1]] for text in texts if (found := _SCHEME.search(text))]
    if cloud and schemes and cloud not in schemes:
        return schemes[0], cloud
    places = [m[1] for key, value in labels if key in _REGION_LABELS
              and (m := _ZONE.fullmatch(value))]  # fmt: skip
    regions = [found[1] for text in texts if (found := _BUCKET.search(text))]
    if not regions and any("s3://" in text for text in texts):
        regions = [value for name, value in env if name in ("AWS_REGION", "AWS_DEFAULT_REGION")]
    if places and regions and not set(places) & set(regions):
        return regions[0], places[0]
    return None


def far_data_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK017."""
    spec = job.spec
    texts = [str(spec.checkpoints or ""), *spec.env.values()]
    far = _far(texts, list(spec.env.items()), list(spec.node_selector.items()))
    if far is not None:
        yield Hit(f"data in {far[0]}, the job in {far[1]}",
                  Fix(f"copy the data once to {far[1]}, or let the job run in {far[0]}"),
                  option="checkpoints" if spec.checkpoints else "node_selector")  # fmt: skip


def far_data(load: Workload, context: Context) -> Iterator[Hit]:
    """GK017."""
    if any(container.get("envFrom") for _, container in load.containers):
        return
    env = [(name, value) for _, name, value in load.env()]
    texts = [*(value for _, value in env), *(word for _, word in load.words())]
    labels = [(r.key, r.values[0]) for r in load.requires if r.operator == "In" and r.values]
    far = _far(texts, env, labels) if load.gpus else None
    if far is not None:
        yield Hit(f"data in {far[0]}, the pod in {far[1]}",
                  Fix(f"copy the data once to {far[1]}, or let the pod run in {far[0]}"),
                  at=load.spec_at)  # fmt: skip


def enforces_nothing(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK034."""
    if item.kind == "ResourceQuota":
        for key, value in mapping(dig(item.data, "spec", "hard")).items():
            if str(key).startswith("limits.nvidia.com/"):
                at: Steps = ("spec", "hard", key)
                right = f"requests.{key.removeprefix('limits.')}"
                yield Hit(f"{key} is never enforced",
                          Fix(f"{right}: {value}", patch=(
                              Edit("remove", at), Edit("add", ("spec", "hard", right), value))),
                          at=at)  # fmt: skip
    elif item.kind == "K8sRequiredLabels":
        for index, label in enumerate(listing(dig(item.data, "spec", "parameters", "labels"))):
            key = label if isinstance(label, str) else dig(label, "key")
            if isinstance(label, str) or str(key).startswith("nvidia.com/"):
                is_gpu = str(key).startswith("nvidia.com/")
                why = "is looked for among labels, not resources" if is_gpu else "is not under key:"
                at = ("spec", "parameters", "labels", index)
                yield Hit(f"{key} {why}", _label_fix(key, index), at=at)


def _label_fix(key: object, index: int) -> Fix:
    if str(key).startswith("nvidia.com/"):
        return Fix("a ValidatingAdmissionPolicy over object.spec.containers' resources.limits, "
                   "with a binding")  # fmt: skip
    at: Steps = ("spec", "parameters", "labels", index)
    return Fix(f"- key: {key}", patch=(Edit("replace", at, {"key": key}),))


def idle_by_util(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK035."""
    if item.kind != "PrometheusRule":
        return
    for g, group in enumerate(listing(dig(item.data, "spec", "groups"))):
        for r, rule in enumerate(listing(dig(group, "rules"))):
            text = str(dig(rule, "expr") or "")
            found = _UTIL.search(text)
            if found and "<" in text and not _WHOLE_ONLY.search(text):
                at: Steps = ("spec", "groups", g, "rules", r, "expr")
                inner = (found[1] or "{}").strip("{}").rstrip(",")
                labels = ", ".join(part for part in (inner, 'GPU_I_PROFILE=""') if part)
                fixed = text.replace(found[0], f"DCGM_FI_DEV_GPU_UTIL{{{labels}}}")
                yield Hit("DCGM_FI_DEV_GPU_UTIL of all devices",
                          Fix('DCGM_FI_PROF_GR_ENGINE_ACTIVE (0 to 1) for all; or GPU_I_PROFILE="" '
                              "to leave MIG devices out", patch=(Edit("replace", at, fixed),)),
                          at=at)  # fmt: skip


JOBS: JobChecks = {"GK011": no_labels_of_job, "GK017": far_data_of_job}
WORKLOADS: WorkloadChecks = {"GK011": no_labels, "GK017": far_data}
MANIFESTS: ManifestChecks = {"GK034": enforces_nothing, "GK035": idle_by_util}
