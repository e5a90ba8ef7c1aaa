"""What a container asks for: GPUs, memory, and neither too little nor by guess."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gpukit.lint.documents import amount, dig, path_text, put
from gpukit.lint.jobs import JobFacts, options_fix
from gpukit.lint.model import Fix, Hit, Steps
from gpukit.lint.workloads import Context, Workload
from gpukit.quantity import format_bytes

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_GIB = 2**30
_SELECTS_GPU = (
    "nvidia.com/gpu.", "nvidia.com/mig", "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-", "eks.amazonaws.com/instance-gpu-",
    "karpenter.azure.com/sku-gpu-",
)  # fmt: skip
_NO_DEVICE = ("", "void", "none")


def gpu_without_limit(load: Workload, context: Context) -> Iterator[Hit]:
    """GK001."""
    for gpu in load.gpus:
        if gpu.limit is not None and gpu.limit.isdecimal() and gpu.request in (None, gpu.limit):
            continue
        if _is_open(gpu.limit) or _is_open(gpu.request):
            continue
        wanted = gpu.limit or gpu.request or "1"
        number = wanted if wanted.isdecimal() and wanted != "0" else "1"
        at: Steps = (*gpu.container, "resources")
        patch = [put(load.root, (*at, "limits", gpu.resource), number)]
        if gpu.request is not None:
            patch.append(put(load.root, (*at, "requests", gpu.resource), number))
        part = "requests" if gpu.limit is None else "limits"
        yield Hit(
            f"{gpu.resource}: {gpu.request or 'nothing'} in requests, "
            f"{gpu.limit or 'nothing'} in limits",
            Fix(f"{path_text((*at, 'limits'))}: {{{gpu.resource}: {number}}}", patch=tuple(patch)),
            at=(*at, part, gpu.resource),
        )


def _is_open(value: str | None) -> bool:
    """Tell whether a value is filled in later, as envsubst and others do."""
    return value is not None and re.search(r"[${<]", value) is not None


def memory_differs(load: Workload, context: Context) -> Iterator[Hit]:
    """GK002."""
    for container in dict.fromkeys(gpu.container for gpu in load.gpus):
        request = dig(load.root, *container, "resources", "requests", "memory")
        limit = dig(load.root, *container, "resources", "limits", "memory")
        if request is None or _is_open(f"{request} {limit}"):
            continue
        if limit is not None and amount(limit) == amount(request):
            continue
        at: Steps = (*container, "resources", "limits", "memory")
        chosen = request if limit is None else limit
        patch = [put(load.root, at, chosen)]
        if limit is not None:
            patch = [put(load.root, (*container, "resources", "requests", "memory"), chosen)]
        yield Hit(
            f"memory: {request} in requests, {limit or 'nothing'} in limits",
            Fix(f"{path_text(patch[0].at)}: {chosen}", patch=tuple(patch)),
            at=(*container, "resources", "requests", "memory"),
        )


def _is_round(size: int) -> bool:
    gib, rest = divmod(size, _GIB)
    return rest == 0 and gib >= 32 and (gib & (gib - 1) == 0 or gib % 50 == 0)


def round_memory(load: Workload, context: Context) -> Iterator[Hit]:
    """GK003."""
    for container in dict.fromkeys(gpu.container for gpu in load.gpus):
        for part in ("requests", "limits"):
            at: Steps = (*container, "resources", part, "memory")
            size = amount(dig(load.root, *at) or "-")
            if size is not None and _is_round(size):
                yield Hit(f"memory is {format_bytes(size)}", _measure(), at=at)
                break


def round_memory_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK003."""
    size = job.spec.memory
    if size is not None and job.placement.resource_name and _is_round(size):
        yield Hit(f"memory is {format_bytes(size)}", _measure(), option="memory")


def _measure() -> Fix:
    return Fix(
        "run it once, and ask for a fifth more than the highest memory that it used: "
        "kubectl top pod --containers, or container_memory_working_set_bytes"
    )


def gpu_node_without_gpu(load: Workload, context: Context) -> Iterator[Hit]:
    """GK020."""
    if load.gpus or load.claims_devices or load.is_system or not load.containers:
        return
    first: Steps = (*load.containers[0][0], "resources", "limits", "nvidia.com/gpu")
    fix = Fix(f"{path_text(first[:-1])}: {{nvidia.com/gpu: 1}}; or run it on other nodes",
              patch=(put(load.root, first, "1"),))  # fmt: skip
    selected = load.requires_key(*_SELECTS_GPU)
    if selected is not None and selected.values != ("false",):
        yield Hit(f"{selected.key} is required, and no device asked for", fix, at=selected.at)
        return
    for at, name, value in load.env():
        if name == "NVIDIA_VISIBLE_DEVICES" and value not in _NO_DEVICE:
            yield Hit(f"{name}={value}, and no device asked for", fix, at=at[:-1])


def cuda_without_gpu(job: JobFacts) -> Iterator[Hit]:
    """GK020."""
    if job.placement.resource_name is not None or "is_available" in job.source.text:
        return
    for call, name in job.source.calls():
        texts = [*call.args, *(k.value for k in call.keywords if k.arg in ("device", "device_map"))]
        named = any(
            isinstance(t, ast.Constant) and str(t.value).partition(":")[0] == "cuda" for t in texts
        )
        if (name == "cuda" and not call.args) or (named and name in ("to", "device", "ones",
            "zeros", "randn", "tensor", "empty", "pipeline", "from_pretrained")):  # fmt: skip
            yield Hit(
                "the code needs CUDA, and profile is cpu", options_fix(profile="gpu"),
                option="profile", line=call.lineno,
            )  # fmt: skip
            return


_TOGETHER = (
    "distributed", "DataParallel", "DDP", "FSDP", "fully_shard", "accelerat", "Trainer",
    "lightning", "deepspeed", "horovod", "tensor_parallel", "device_map", "LOCAL_RANK",
    "WORLD_SIZE", "RANK", "vllm", "jax", "tensorflow", "multiprocessing", "subprocess", "nccl",
    "rank", "run_info", "cuda:1", "device_count",
)  # fmt: skip


def one_process_of_several(job: JobFacts) -> Iterator[Hit]:
    """GK019."""
    source = job.source
    if job.placement.processes < 2 or not source.is_open or not source.mentions("torch"):
        return
    if not source.mentions(*_TOGETHER):
        profile = job.spec.profile[0]
        one = str(profile.model_copy(update={"count": 1}))
        yield Hit(
            f"profile={str(profile)!r} starts {job.placement.processes} processes, and the code of "
            f"{source.function} is for one",
            options_fix(f'@gpu_job(profile="{one}"); or torch.distributed.init_process_group() and '
                        "DistributedDataParallel(model), for which RANK and WORLD_SIZE are set",
                        profile=one), option="profile",
        )  # fmt: skip


JOBS: JobChecks = {
    "GK003": round_memory_of_job,
    "GK019": one_process_of_several,
    "GK020": cuda_without_gpu,
}
WORKLOADS: WorkloadChecks = {
    "GK001": gpu_without_limit,
    "GK002": memory_differs,
    "GK003": round_memory,
    "GK020": gpu_node_without_gpu,
}
MANIFESTS: ManifestChecks = {}
