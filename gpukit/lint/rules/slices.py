"""MIG: slices that fit, that exist, and that can be used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import yaml

from gpukit.catalog import Catalog, Gpu
from gpukit.lint.documents import Manifest, dig, listing, mapping, path_text, put, strings
from gpukit.lint.jobs import JobFacts, fits, options_fix, usable
from gpukit.lint.model import Edit, Fix, Hit, Steps
from gpukit.lint.workloads import Context, GpuRequest, Requirement, Workload

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_PRODUCT = "nvidia.com/gpu.product"
_MIG = "nvidia.com/mig-"
_HALF = Fraction(1, 2)
_SHARE_CALLS = {"set_per_process_memory_fraction": "fraction"}
_SHARE_WORDS = ("gpu_memory_utilization", "mem_fraction_static")
_KARPENTER = ("karpenter.sh/", "karpenter.k8s.aws/", "eks.amazonaws.com/compute-type")


def whole_gpu_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK004."""
    profile = job.spec.profile[0]
    if len(job.spec.profile) > 1 or profile.kind != "full" or profile.count > 1 or not profile.gpu:
        return
    gpus = job.catalog.find_gpus(profile.gpu)
    for need, why, line in _needs_of_job(job, gpus[0]):
        slices = {gpu.name: fits(gpu, need, most=_HALF) for gpu in gpus}
        if all(slices.values()):
            name, mig = next(iter(slices.items()))
            yield Hit(
                f"{why}; mig-{mig} of {name} holds it",
                options_fix(profile=f"mig-{mig}", gpu=name), option="profile", line=line,
            )  # fmt: skip
            return


def _needs_of_job(job: JobFacts, gpu: Gpu) -> Iterator[tuple[int, str, int]]:
    if job.needs.gpu_memory is not None:
        yield job.needs.gpu_memory, f"it needs {_gib(job.needs.gpu_memory)}", 0
        return
    for call, name in job.source.calls():
        for keyword in call.keywords:
            if keyword.arg in (*_SHARE_WORDS, _SHARE_CALLS.get(name)):
                yield from _share(keyword.value, gpu, str(keyword.arg), call.lineno)
        if name in _SHARE_CALLS and call.args:
            yield from _share(call.args[0], gpu, name, call.lineno)


def _share(value: ast.expr, gpu: Gpu, what: str, line: int) -> Iterator[tuple[int, str, int]]:
    if isinstance(value, ast.Constant) and isinstance(value.value, float) and 0 < value.value <= 1:
        need = int(value.value * gpu.memory_gb * 10**9 / 1.2)  # the fifth to spare is within it
        yield need, f"{what} leaves it {value.value:.0%} of a {gpu.name}", line


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _products(load: Workload, catalog: Catalog) -> tuple[list[Gpu], Requirement | None]:
    """Return the GPUs that a pod must have one of, by the label of their product."""
    required = load.requires_key(_PRODUCT)
    if required is None:
        return [], None
    named = set(required.values)
    return [gpu for gpu in catalog.gpus if named & set(gpu.products)], required


def whole_gpu(load: Workload, context: Context) -> Iterator[Hit]:
    """GK004."""
    gpus, required = _products(load, context.catalog)
    whole = [gpu for gpu in load.gpus if (gpu.resource, gpu.limit) == ("nvidia.com/gpu", "1")]
    if len(load.gpus) != 1 or not whole or not gpus or not required:
        return
    if any("-SHARED" in value or "-MIG-" in value for value in required.values):
        return
    need, why = context.needs.gpu_memory, "it needs {}"
    if need is None:
        share = next(iter(_share_words(load)), None)
        if share is None:
            return
        need = int(share * max(gpu.memory_gb for gpu in gpus) * 10**9 / 1.2)
        why = f"its arguments leave it {share:.0%} of the GPU"
    found = {fits(gpu, need, most=_HALF) for gpu in gpus}
    if len(found) == 1 and (mig := found.pop()) is not None:
        yield Hit(
            f"{why.format(_gib(need))}; a slice {mig} holds it",
            _other_resource(load, whole[0], f"{_MIG}{mig}"),
            at=(*whole[0].container, "resources", "limits", whole[0].resource),
        )


def _share_words(load: Workload) -> Iterator[float]:
    words = [word for _, word in load.words()]
    for index, word in enumerate(words):
        option, equals, value = word.lstrip("-").replace("-", "_").partition("=")
        value = value if equals else (words[index + 1] if index + 1 < len(words) else "")
        if option in _SHARE_WORDS and re.fullmatch(r"0?\.\d+", value):
            yield float(value)


def _other_resource(load: Workload, gpu: GpuRequest, resource: str, number: str = "1") -> Fix:
    edits: list[Edit] = []
    for part, asked in (("limits", gpu.limit), ("requests", gpu.request)):
        if asked is not None:
            at: Steps = (*gpu.container, "resources", part)
            edits += [Edit("remove", (*at, gpu.resource)), Edit("add", (*at, resource), number)]
    where = path_text((*gpu.container, "resources", "limits"))
    return Fix(f"{where}: {{{resource}: {number}}} instead of {gpu.resource}", patch=tuple(edits))


def tight_slice_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK018."""
    profile, need = job.spec.profile[0], job.needs.gpu_memory
    if profile.kind != "mig" or profile.mig is None or not need or usable(profile.mig) >= need:
        return
    gpus = job.catalog.find_gpus(job.spec.gpu) if job.spec.gpu else job.catalog.mig_profiles[
        profile.mig]  # fmt: skip
    larger = next((m for gpu in gpus if profile.mig in gpu.mig and (m := fits(gpu, need))), None)
    fix = options_fix(profile=f"mig-{larger}") if larger else Fix("take a larger GPU, or two")
    yield Hit(f"it needs {_gib(need)}, and {profile.mig} has about "
              f"{_gib(usable(profile.mig))} to count on", fix, option="profile")  # fmt: skip


def tight_slice(load: Workload, context: Context) -> Iterator[Hit]:
    """GK018."""
    need = context.needs.gpu_memory
    for gpu in load.gpus:
        profile = gpu.resource.removeprefix(_MIG).removesuffix(".shared")
        if not need or not re.fullmatch(r"\d+g\.\d+gb", profile) or usable(profile) >= need:
            continue
        owners = context.catalog.mig_profiles.get(profile, ())
        larger = next((m for owner in owners if (m := fits(owner, need))), None)
        fix = _other_resource(load, gpu, f"{_MIG}{larger}") if larger else Fix("take a larger GPU")
        yield Hit(
            f"it needs {_gib(need)}, and {profile} has about {_gib(usable(profile))} to count on",
            fix, at=(*gpu.container, "resources", "limits", gpu.resource),
        )  # fmt: skip


def smallest_everywhere(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK018."""
    at: Steps = ("spec", "migManager", "config", "default")
    chosen = dig(item.data, *at)
    if item.kind == "ClusterPolicy" and re.match(r"all-1g\.", str(chosen)):
        yield Hit(
            f"{chosen} for every card of the cluster",
            Fix(f"{path_text(at)}: all-balanced, and {chosen} by the label nvidia.com/mig.config "
                "of those nodes that are to have it", patch=(put(item.data, at, "all-balanced"),)),
            at=at,
        )  # fmt: skip


def several_slices(load: Workload, context: Context) -> Iterator[Hit]:
    """GK024."""
    for gpu in load.gpus:
        is_part = gpu.resource.startswith(_MIG) or gpu.resource.endswith(".shared")
        if is_part and gpu.limit is not None and gpu.limit.isdecimal() and int(gpu.limit) > 1:
            at: Steps = (*gpu.container, "resources", "limits", gpu.resource)
            patch = [Edit("replace", at, "1")]
            if gpu.request is not None:
                patch.append(Edit("replace", (*at[:-2], "requests", gpu.resource), "1"))
            yield Hit(f"{gpu.resource}: {gpu.limit}",
                      Fix(f"{path_text(at)}: 1; a larger slice, or a pod for each",
                          patch=tuple(patch)), at=at)  # fmt: skip


def mig_elsewhere(load: Workload, context: Context) -> Iterator[Hit]:
    """GK025."""
    overlays = any(item.kind == "NodeOverlay" for item in context.manifests)
    gke, karpenter = load.requires_key("cloud.google.com/gke-"), load.requires_key(*_KARPENTER)
    for gpu in load.gpus:
        if not gpu.resource.startswith(_MIG):
            continue
        at: Steps = (*gpu.container, "resources", "limits", gpu.resource)
        if gke is not None:
            size = gpu.resource.removeprefix(_MIG)
            fix = _other_resource(load, gpu, "nvidia.com/gpu")
            label: Steps = (
                *load.spec_at,
                "nodeSelector",
                "cloud.google.com/gke-gpu-partition-size",
            )
            patch = (*fix.patch, put(load.root, label, size))
            text = f"{fix.text}; {path_text(label)}: {size}"
            yield Hit(f"{gpu.resource} with {gke.key}", Fix(text, patch=patch), at=at)
        elif karpenter is not None and not overlays:
            yield Hit(
                f"{gpu.resource} with {karpenter.key}",
                Fix("add a NodeOverlay (karpenter.sh/v1alpha1) with capacity: "
                    f"{{{gpu.resource}: …}} for the instance type, or use a managed node group"),
                at=at,
            )  # fmt: skip


def impossible_geometry(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK026."""
    for key, text in mapping(item.data.get("data")).items():
        if item.kind != "ConfigMap" or "mig-configs" not in str(text):
            continue
        configs = mapping(dig(_inner(text), "mig-configs"))
        for name, entries in configs.items():
            for entry in listing(entries):
                devices = mapping(dig(entry, "mig-devices"))
                if problem := _impossible(devices, context.catalog):
                    yield Hit(f"{name}: {problem}", Fix(
                        "take slices away until they fit; `gpukit mig-plan` finds a set that does"
                    ), at=("data", key))  # fmt: skip


def _inner(text: object) -> Any:
    try:
        return yaml.safe_load(str(text))
    except yaml.YAMLError:
        return None


def _impossible(devices: Mapping[str, Any], catalog: Catalog) -> str | None:
    """Return why no GPU can have these slices; None where one may, or none is known."""
    counts = {str(k): v for k, v in devices.items() if isinstance(v, int) and v > 0}
    gpus = [gpu for gpu in catalog.gpus if counts and all(p in gpu.mig for p in counts)]
    problems = [_over(counts, gpu) for gpu in gpus]
    return problems[0] if problems and all(problems) else None


def _over(counts: Mapping[str, int], gpu: Gpu) -> str | None:
    base = [(int(p.partition("g.")[0]), int(re.split(r"g\.|gb", p)[1])) for p in gpu.mig]
    whole, slices = max(memory for _, memory in base), max(compute for compute, _ in base)
    axis = 8 if slices == 7 else slices
    compute = memory = 0
    for profile, count in counts.items():
        if count > gpu.mig[profile]:
            return f"{profile} fits a {gpu.name} {gpu.mig[profile]} times, not {count}"
        size = int(re.split(r"g\.|gb", profile)[1])
        compute += count * int(profile.partition("g.")[0])
        memory += count * round(size * axis / whole)
    if compute > slices or memory > axis:
        return (f"{compute} of {slices} compute slices and {memory} of {axis} memory slices "
                f"of a {gpu.name}")  # fmt: skip
    return None


_COMMAND = re.compile(r"nvidia-smi\s+mig\b[^\n;&|]*?-cgi\s+(\S+)[^\n;&|]*")


def mig_command(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK036."""
    if item.kind == "Secret":
        return
    for at, text in strings(item.data):
        found = _COMMAND.search(text)
        if not found or re.search(r"\s-C\b|--default-compute-instance|-cci\b", text):
            continue
        profiles = found[1].split(",")
        ordered = ",".join(sorted(profiles, key=_size, reverse=True))
        command = found[0].rstrip().replace(found[1], ordered) + " -C"
        fixed = text.replace(found[0].rstrip(), command)
        yield Hit(f"{found[0].strip()}", Fix(command, patch=(Edit("replace", at, fixed),)), at=at)


def _size(profile: str) -> int:
    match = re.match(r"(\d+)g\.", profile)
    return int(match[1]) if match else 0


JOBS: JobChecks = {"GK004": whole_gpu_of_job, "GK018": tight_slice_of_job}
WORKLOADS: WorkloadChecks = {
    "GK004": whole_gpu,
    "GK018": tight_slice,
    "GK024": several_slices,
    "GK025": mig_elsewhere,
}
MANIFESTS: ManifestChecks = {
    "GK018": smallest_everywhere,
    "GK026": impossible_geometry,
    "GK036": mig_command,
}
