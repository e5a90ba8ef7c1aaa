"""The rules, in the order of their numbers. A new rule: a row here, and its check in rules/."""

from __future__ import annotations

from .model import Rule

__all__ = ["RULES", "rule"]

_PLUGIN = "NVIDIA/k8s-device-plugin README, Shared Access to GPUs"
_GUIDE = "the FinOps guide"
_API = "kubernetes/api, and the words of a real API server"
_SPOT = "documentation of spot capacity on EKS, Karpenter, GKE and AKS"
_JOB = "kubernetes/api batch/v1 types.go"
_MIG = "NVIDIA MIG User Guide; NVIDIA/mig-parted"

RULES: tuple[Rule, ...] = (
    Rule(
        "GK001", "no-gpu-limit", "error", "a GPU without a limit of the same whole number",
        "The API server refuses the pod: a GPU is asked for in limits, in whole numbers, and a "
        "request, where there is one, must be equal.",
        "A container has a GPU resource in requests and not the same whole number in limits; not "
        "where a template leaves the number open ($GPUS).",
        _API,
    ),
    Rule(
        "GK002", "requests-differ-from-limits", "warning", "memory request and limit differ",
        "What lies between request and limit belongs to nobody: when the node runs short, the pod "
        "is killed or evicted, and the GPU hours since its last checkpoint are lost. (A CPU limit "
        "only throttles; a CPU request without a limit is right.)",
        "A container with a GPU has a memory request, and no limit of the same size.", _GUIDE,
    ),
    Rule(
        "GK003", "round-number-memory", "note", "memory is a round number",
        "A power of two is a guess more often than a measurement, and memory that is not used "
        "keeps other pods off the node.",
        "32 GiB or more are declared for a job with a GPU, and it is a power of two or a multiple "
        "of 50 or 100 GiB.", _GUIDE,
    ),
    Rule(
        "GK004", "whole-gpu-for-a-slice", "warning", "a whole GPU for what fits a slice",
        "The rest of the card is paid for and cannot be used by anybody else.",
        "What it needs is known (--gpu-memory, or its code or arguments limit its share of the "
        "memory), a MIG slice of at most half of the card holds it with a fifth to spare, and the "
        "GPU is known to be a whole one.", _GUIDE,
    ),
    Rule(
        "GK005", "no-toleration", "warning", "no toleration for GPU nodes",
        "GPU nodes are usually tainted nvidia.com/gpu, so the pod waits for ever. Only GKE adds "
        "the toleration by itself.",
        "A pod asks for a GPU and tolerates neither nvidia.com/gpu nor a taint of the cluster's "
        "own; not on GKE.", "admission plugin ExtendedResourceToleration; cloud documentation",
    ),
    Rule(
        "GK006", "time-slicing-in-production", "warning", "a time-sliced GPU outside development",
        "Time-slicing isolates neither memory nor faults: a neighbour takes the memory, or brings "
        "the GPU down, and how long anything takes depends on the neighbours.",
        "A job with profile shared and another stage than dev; a pod that asks for a time-sliced "
        "share and is labelled as production.", _PLUGIN,
    ),
    Rule(
        "GK007", "mig-in-development", "note", "a MIG slice for development",
        "The slices of a card change only when nothing runs on it, and development seldom fills "
        "one; a time-sliced share is cheaper there.",
        "A job with a MIG profile and the stage dev; a pod that asks for a MIG slice and is "
        "labelled as development.", _GUIDE,
    ),
    Rule(
        "GK008", "vpa-on-training", "warning", "a VerticalPodAutoscaler that restarts training",
        "It evicts pods to resize them, and what was computed since the last checkpoint is lost. "
        "It never recommends GPUs, and forgets a peak within days.",
        "A VerticalPodAutoscaler whose target is a kind of job, in a mode that changes running "
        "pods (Recreate, InPlaceOrRecreate, Auto, or none, which is one of them).",
        "kubernetes/autoscaler, vertical-pod-autoscaler 1.6",
    ),
    Rule(
        "GK009", "spot-without-checkpoint", "warning", "spot without a checkpoint",
        "Every interruption begins at step 0 again, and a run that is longer than the time between "
        "interruptions never ends.",
        "A training job on spot whose code never mentions a checkpoint, and imports nothing that "
        "could write one unseen; a Job for spot nodes with a GPU, without a volume, a URL or a "
        "word about checkpoints. Not for jobs of at most 30 minutes.", _SPOT,
    ),
    Rule(
        "GK010", "spot-for-sla", "error", "spot capacity for a service with an SLA",
        "Spot nodes go away at two minutes' notice or less, many of them at once, and there may be "
        "no others.",
        'stage="inference-sla" with any spot; a pod for spot nodes with a GPU whose labels say '
        "that it has an SLA.", _SPOT,
    ),
    Rule(
        "GK011", "no-cost-labels", "warning", "no labels for cost allocation",
        "Nobody can say whose GPU hours these were. Cost tools read the labels of the pod, not "
        "those of its Job.",
        "A pod with a GPU has no label for its owner (team, owner, department, …) or none for its "
        "budget (cost-center, project, …); prefixes do not matter.",
        "AWS split cost allocation, OpenCost",
    ),
    Rule(
        "GK012", "no-deadline", "warning", "no deadline",
        "A pod that never starts (a missing Secret, an image that cannot be pulled), or never "
        "ends, holds its GPU until somebody looks.",
        "A Job with a GPU without activeDeadlineSeconds or Kueue's limit of its time; a job with "
        "deadline=None.", _JOB,
    ),
    Rule(
        "GK013", "no-ttl", "warning", "no time to live after its end",
        "Ended Jobs and their pods stay for ever, count against quotas, and slow every list down.",
        "A Job without ttlSecondsAfterFinished that nothing else removes (CronJob, hooks of Helm "
        "and Argo CD); a job with ttl=None.", _JOB,
    ),
    Rule(
        "GK014", "literal-secret", "error", "a secret in plain text",
        "Who may read the manifest, the Job or its pods can read it, and it stays in the history "
        "of the repository. Take it for known, and make a new one.",
        "A variable, argument or value of a ConfigMap has the form of a token of a known service, "
        "a URL has a password, or a variable's name says so (PASSWORD, SECRET, HF_TOKEN, API_KEY, "
        "…) and its value is a word for a password, or as long and mixed as a generated key, and "
        "neither a path nor a placeholder. The value is never shown.", "common forms of tokens",
    ),
    Rule(
        "GK015", "checkpoint-dies-with-pod", "warning", "checkpoints that die with the pod",
        "The next attempt is another pod, often on another node: it finds nothing.",
        "A directory for checkpoints that is not below a mounted volume that outlives the pod; a "
        "Checkpointer in a job that has no durable place.",
        "kubernetes/website, concepts/storage/volumes",
    ),
    Rule(
        "GK016", "save-over-grace", "warning", "a last save that does not fit the grace period",
        "SIGKILL comes while the checkpoint is being written; the time for it was spent for "
        "nothing, and the steps since the one before are lost.",
        "What a save takes is known (--save-time) and the grace is shorter; a preStop hook sleeps "
        "through all of the grace. Not where checkpoint_every is at most 30 minutes.",
        "kubernetes/website, concepts/workloads/pods/pod-lifecycle",
    ),
    Rule(
        "GK017", "far-data", "warning", "data far from the region of the job",
        "Every read crosses regions or clouds: it is slow, so that the GPU waits, and transfer is "
        "charged by the gigabyte.",
        "The job must run in one region or cloud by its node selector, and its data is in another "
        "by URL or AWS_REGION. Not where an endpoint of the store's own is set.",
        "transfer prices of AWS, GCP and Azure",
    ),
    Rule(
        "GK018", "over-consolidated-mig", "warning", "cards cut too small",
        "What needs a little more than a slice has, fails out of memory: a slice holds less than "
        "its name says. A card of smallest slices offers nothing larger until it is emptied.",
        "What it needs is known (--gpu-memory) and leaves less than a tenth of the slice; a "
        "ClusterPolicy that cuts every card into its smallest slices.",
        "nvidia-smi on A100, H100 and H200: 9.6 of 10, 9.75 of 10, 16.0 of 18",
    ),
    Rule(
        "GK019", "gpus-without-launcher", "warning", "several GPUs, and code for one",
        "One process runs for each GPU, and without an exchange between them every one computes "
        "the same.",
        "A job with several GPUs whose code, all of which is in sight, uses torch and mentions "
        "nothing of distributed work.", "pytorch.org, distributed overview",
    ),
    Rule(
        "GK020", "gpu-node-without-gpu", "warning", "a GPU node and no GPU asked for",
        "The pod keeps CPU and memory from those who need the GPU, which it cannot use, or uses "
        "behind the scheduler's back.",
        "A pod must run on GPU nodes by a label of theirs, or sets NVIDIA_VISIBLE_DEVICES, and "
        "asks for no device; not DaemonSets and parts of the system. A job with profile cpu whose "
        "code says cuda and never asks whether there is one.", _GUIDE,
    ),
    Rule(
        "GK021", "toleration-of-one-value", "note", "a toleration for one value of the GPU taint",
        "The taint nvidia.com/gpu has the value present on GKE, true in many examples for EKS, and "
        "none elsewhere: the same manifest waits for ever on the next cluster.",
        "A toleration of nvidia.com/gpu with the operator Equal.",
        "taints of GKE, EKS examples and the GPU Operator",
    ),
    Rule(
        "GK022", "product-label-unknown", "warning", "a product label that no GPU has",
        "The label nvidia.com/gpu.product is the driver's full name of the GPU and is compared as "
        "a whole: nothing matches the beginning of it.",
        "A required value is no known product, and the beginning of one.",
        "NVIDIA/k8s-device-plugin internal/lm/resource.go",
    ),
    Rule(
        "GK023", "product-label-on-autoscaled-pool", "warning",
        "a product label that an autoscaler does not know",
        "GPU Feature Discovery writes the label after a node has started; Karpenter decides "
        "before, and never starts one for it.",
        "nvidia.com/gpu.product is required together with a label of Karpenter or EKS Auto Mode.",
        "karpenter.sh, concepts/scheduling; skypilot sky/provision/kubernetes/utils.py",
    ),
    Rule(
        "GK024", "several-slices-in-one-container", "warning", "several slices in one container",
        "CUDA uses only the first MIG device that it finds, and several shares of a time-sliced "
        "GPU give no more of it; the pod may even be refused.",
        "A container asks for more than one MIG device or time-sliced share.",
        f"NVIDIA/DCGM#138; {_PLUGIN}",
    ),
    Rule(
        "GK025", "mig-resource-of-another-platform", "warning",
        "a MIG resource that this platform does not have",
        "On GKE a slice is asked for as nvidia.com/gpu with a label of its size; Karpenter knows "
        "no MIG resource and never starts a node for it.",
        "nvidia.com/mig-… together with a required label of GKE, or of Karpenter without a "
        "NodeOverlay among the files.", "GKE documentation; aws/karpenter-provider-aws labels.go",
    ),
    Rule(
        "GK026", "mig-geometry-impossible", "error", "slices that no card can have together",
        "MIG Manager fails on the node, and it offers no slices at all.",
        "A configuration of mig-parted whose slices exceed the compute, the memory or the number "
        "of instances of every GPU that has them.", _MIG,
    ),
    Rule(
        "GK027", "sharing-config-refused", "error", "a sharing configuration that is refused",
        "The device plugin does not start with it, so the node offers no GPU.",
        "replicas below 2, or MPS for MIG devices, in a configuration of the device plugin.",
        _PLUGIN,
    ),
    Rule(
        "GK028", "shares-look-whole", "note", "shares that look like whole GPUs",
        "Whoever asks for nvidia.com/gpu gets a share without a word, and cost tools count every "
        "share as a whole GPU.",
        "timeSlicing of nvidia.com/gpu without renameByDefault: true.",
        f"{_PLUGIN}; opencost pkg/costmodel",
    ),
    Rule(
        "GK029", "grace-over-notice", "warning", "more grace than spot capacity gives",
        "The node is gone before the grace period ends, so a save that counts on it is cut off.",
        "A pod for spot nodes has a grace period beyond what its provider can give (EC2 120 s, GKE "
        "120 s where it is extended, AKS 30 s).", _SPOT,
    ),
    Rule(
        "GK030", "preemption-counts-as-failure", "warning", "preemptions count as failures",
        "Each preemption takes one of the Job's retries (six, if nothing is said), and then the "
        "Job has failed for good.",
        "A Job for spot nodes with a GPU without podFailurePolicy.", _JOB,
    ),
    Rule(
        "GK031", "do-not-disrupt-on-spot", "warning", "do-not-disrupt on spot nodes",
        "The annotation does not stop a spot interruption; it only keeps the pod from being "
        "drained in time, so that it is killed without SIGTERM.",
        "karpenter.sh/do-not-disrupt on a pod for spot nodes.", "aws/karpenter-provider-aws#8276",
    ),
    Rule(
        "GK032", "sidecar-outlives-job", "warning", "a sidecar that keeps the Job from ending",
        "A Job ends when all its containers have, and a proxy or a collector of logs never does: "
        "the GPU stays taken.",
        "A Job has a container beside the first that is a known sidecar, and nothing tells it to "
        "quit.", "kubernetes/website, concepts/workloads/pods/sidecar-containers",
    ),
    Rule(
        "GK033", "vpa-off-is-false", "error", "updateMode: Off without quotes",
        "YAML reads a bare Off as false, and the API server refuses a boolean.",
        "updateMode of a VerticalPodAutoscaler is a boolean.", "YAML 1.1, as kubectl reads it",
    ),
    Rule(
        "GK034", "policy-enforces-nothing", "error", "a policy that enforces nothing",
        "It is accepted and never stops anything, so GPUs are believed to be guarded and are not.",
        "A ResourceQuota on limits.nvidia.com/…; a K8sRequiredLabels whose labels are no objects "
        "with a key, or name a GPU resource.",
        "a real API server; gatekeeper-library general/requiredlabels v1.1.2",
    ),
    Rule(
        "GK035", "idle-by-gpu-util", "note", "idle GPUs by a metric that MIG does not have",
        "DCGM_FI_DEV_GPU_UTIL is 0 or absent on MIG devices, which then look idle.",
        "A PrometheusRule compares DCGM_FI_DEV_GPU_UTIL with < and does not leave MIG devices out.",
        "NVIDIA/dcgm-exporter#216, #430",
    ),
    Rule(
        "GK036", "mig-command-incomplete", "warning", "nvidia-smi mig makes slices without use",
        "Without -C there are no compute instances, so CUDA finds no device; and a large profile "
        "after small ones finds no place.",
        "A text has nvidia-smi mig -cgi without -C, and no -cci.", _MIG,
    ),
)  # fmt: skip

_BY_ID = {rule.id: rule for rule in RULES}


def rule(id: str) -> Rule:
    """Return the rule of an id."""
    return _BY_ID[id]
