"""Manifests with one mistake each, and their near misses, by rule."""

from __future__ import annotations

from typing import Any

from tests.lint.base import GONE, changed

__all__ = ["BAD", "GOOD"]

KARPENTER = {"karpenter.sh/capacity-type": "spot"}
EKS = {"eks.amazonaws.com/capacityType": "SPOT"}
AKS = {"kubernetes.azure.com/scalesetpriority": "spot"}
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
ON_SPOT = {"pod/nodeSelector": KARPENTER}
NO_STATE = {
    "pod/volumes": [],
    "main/volumeMounts": [],
    "main/command": ["python", "train.py"],
}
VLLM = ["vllm", "serve", "m", "--gpu-memory-utilization=0.3"]
TOKEN = "hf_" + "aBcD1234" * 5


def mig(profile: str, number: str = "1") -> dict[str, Any]:
    return {"limits/nvidia.com/gpu": GONE, f"limits/nvidia.com/mig-{profile}": number}


def shared(number: str = "1") -> dict[str, Any]:
    return {"limits/nvidia.com/gpu": GONE, "limits/nvidia.com/gpu.shared": number}


def env(**variables: str) -> dict[str, Any]:
    return {"main/env": [{"name": k, "value": v} for k, v in variables.items()]}


def sidecar(**more: Any) -> dict[str, Any]:
    return {"name": "proxy", "image": "gcr.io/cloud-sql-connectors/cloud-sql-proxy:2", **more}


def labels(**more: str) -> dict[str, Any]:
    return {"template/labels": {"team": "vision", "cost-center": "ml", **more}}


def hook(seconds: int) -> dict[str, Any]:
    return {"main/lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", f"sleep {seconds}"]}}}}


BAD_CHANGES: dict[str, list[dict[str, Any]]] = {
    "GK001": [
        {"limits/nvidia.com/gpu": GONE, "requests/nvidia.com/gpu": 1},
        {"requests/nvidia.com/gpu": "1", "limits/nvidia.com/gpu": "2"},
        {"limits/nvidia.com/gpu": "0.5"},
    ],
    "GK002": [{"requests/memory": "10Gi"}, {"limits/memory": GONE}],
    "GK003": [{"requests/memory": "64Gi", "limits/memory": "64Gi"}],
    "GK004": [{"pod/nodeSelector": H100, "main/command": VLLM}],
    "GK005": [
        {"pod/tolerations": GONE},
        {"pod/tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]},
    ],
    "GK006": [
        {**shared(), **labels(environment="production")},
        {"metadata/namespace": "prod",
         "pod/nodeSelector": {"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"}},
    ],
    "GK007": [{**mig("1g.10gb"), **labels(env="dev")}],
    "GK009": [{**ON_SPOT, **NO_STATE}],
    "GK010": [{**ON_SPOT, **labels(sla="gold")}, {**ON_SPOT, **labels(tier="critical")}],
    "GK011": [
        {"template/labels": {"app": "x"}}, {"template/labels": {"team": "vision"}},
        {"template/labels": GONE},
    ],
    "GK012": [{"job/activeDeadlineSeconds": GONE}],
    "GK013": [{"job/ttlSecondsAfterFinished": GONE}],
    "GK014": [
        env(WANDB_API_KEY="0f3a9c7b21e84d56a0f3a9c7b21e84d56a0f3a9c"), env(DB_PASSWORD="hunter2!x"),
        env(SETUP=TOKEN), env(URL="postgres://ml:s3cr3tpass@db/runs"),
        {"main/command": ["python", "train.py", f"--token={TOKEN}"]},
    ],
    "GK015": [
        {"pod/volumes": [{"name": "checkpoints", "emptyDir": {}}]},
        {"main/command": ["python", "t.py", "--checkpoint-dir=/tmp/ckpt"]},
        env(CHECKPOINT_DIR="/workspace/checkpoints"),
    ],
    "GK016": [hook(60)],
    "GK017": [
        {"pod/nodeSelector": {"topology.kubernetes.io/region": "us-east-1"},
         "main/command": ["python", "t.py", "https://data.s3.eu-west-1.amazonaws.com/train"]},
        {"pod/nodeSelector": EKS, **env(DATA="gs://bucket/train")},
        {"pod/nodeSelector": {"topology.kubernetes.io/zone": "us-east-1a"},
         **env(AWS_REGION="eu-central-1", DATA="s3://bucket/train")},
    ],
    "GK020": [
        {"limits/nvidia.com/gpu": GONE, "pod/nodeSelector": H100},
        {"limits/nvidia.com/gpu": GONE, **env(NVIDIA_VISIBLE_DEVICES="all")},
    ],
    "GK021": [{"pod/tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
    ]}],
    "GK022": [
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB"}},
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100"}},
    ],
    "GK023": [{"pod/nodeSelector": {**KARPENTER, **H100}}],
    "GK024": [mig("1g.10gb", "2"), shared("2")],
    "GK025": [
        {**mig("1g.10gb"), "pod/nodeSelector": {
            "cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}},
        {**mig("1g.10gb"), "pod/nodeSelector": KARPENTER},
    ],
    "GK029": [
        {**ON_SPOT, "pod/terminationGracePeriodSeconds": 600},
        {"pod/nodeSelector": AKS, "pod/terminationGracePeriodSeconds": 60},
    ],
    "GK030": [{**ON_SPOT, "job/podFailurePolicy": GONE, "pod/restartPolicy": "OnFailure"}],
    "GK031": [{**ON_SPOT, "template/annotations": {"karpenter.sh/do-not-disrupt": "true"}}],
    "GK032": [{"pod/containers": [
        {"name": "main", "image": "train:1", "resources": {"limits": {"nvidia.com/gpu": 1}}},
        sidecar(),
    ]}],
    "GK036": [{"main/command": ["sh", "-c", "nvidia-smi mig -cgi 1g.10gb,3g.40gb && sleep 1"]}],
}  # fmt: skip

GOOD_CHANGES: dict[str, list[dict[str, Any]]] = {
    "GK001": [
        {}, {"requests/nvidia.com/gpu": 1, "limits/nvidia.com/gpu": "1"}, mig("1g.10gb"),
        {"requests/nvidia.com/gpu": "$GPUS", "limits/nvidia.com/gpu": "$GPUS"},
        {"limits/nvidia.com/gpu": "${ACCELERATOR_QUANTITY}"},
    ],
    "GK002": [
        {"requests/memory": "$MEMORY"},
        {"requests/memory": "22528Mi"}, {"requests/memory": GONE},
        {"requests/memory": "1Gi", "limits/nvidia.com/gpu": GONE}, {"limits/cpu": "8"},
    ],
    "GK003": [
        {}, {"requests/memory": "16Gi", "limits/memory": "16Gi"},
        {"requests/memory": "64Gi", "limits/nvidia.com/gpu": GONE},
    ],
    "GK004": [
        {"main/command": VLLM},  # which GPU, and whether it is shared, is not known
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-SHARED"},
         "main/command": VLLM},
        {"pod/nodeSelector": H100,
         "main/command": ["vllm", "serve", "m", "--gpu-memory-utilization", "0.9"]},
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "Tesla-T4"}, "main/command": VLLM},
    ],
    "GK005": [
        {"pod/tolerations": [{"operator": "Exists"}]},
        {"pod/tolerations": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]},
        {"pod/tolerations": GONE, "limits/nvidia.com/gpu": GONE},
        {"pod/tolerations": GONE,
         "pod/nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
    ],
    "GK006": [
        {**shared(), **labels(environment="dev")}, shared(),
        {**mig("1g.10gb"), **labels(environment="production")},
    ],
    "GK007": [mig("1g.10gb"), {**shared(), **labels(env="dev")}],
    "GK009": [
        ON_SPOT, NO_STATE, {**ON_SPOT, **NO_STATE, **env(OUT="s3://bucket/run")},
        {**ON_SPOT, **NO_STATE, "job/activeDeadlineSeconds": 900},
        {**ON_SPOT, **NO_STATE, "main/envFrom": [{"configMapRef": {"name": "settings"}}]},
    ],
    "GK010": [ON_SPOT, labels(sla="gold"), {**ON_SPOT, **labels(sla="none")}],
    "GK011": [
        {"template/labels": {"example.com/owner": "a", "kubecost/project": "b"}},
        {"template/labels": {}, "limits/nvidia.com/gpu": GONE},
    ],
    "GK012": [
        {}, {"job/activeDeadlineSeconds": GONE, "pod/activeDeadlineSeconds": 3600},
        {"job/activeDeadlineSeconds": GONE, "limits/nvidia.com/gpu": GONE},
        {"job/activeDeadlineSeconds": GONE,
         "metadata/labels": {"kueue.x-k8s.io/max-exec-time-seconds": "3600"}},
    ],
    "GK013": [
        {}, {"job/ttlSecondsAfterFinished": GONE,
             "metadata/annotations": {"helm.sh/hook-delete-policy": "hook-succeeded"}},
    ],
    "GK014": [
        env(TOKENIZERS_PARALLELISM="false", PAD_TOKEN="<pad>", MAX_TOKENS="4096",
            OPENAI_API_KEY="EMPTY", HF_TOKEN_PATH="/var/run/token", API_KEY="<your key>",
            HF_HUB_DISABLE_IMPLICIT_TOKEN="1", DB_PASSWORD="$(DB_PASSWORD_FROM_SECRET)",
            HF_TOKEN="HF_TOKEN", NGC_API_KEY="nvapi-NVKEY",
            SECRET_NAME="wandb", PASSWORD="changeme", AWS_ACCESS_KEY_ID="AKIDEXAMPLE"),
        {"main/env": [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {
            "name": "wandb", "key": "api-key"}}}]},
    ],
    "GK015": [
        {}, env(CHECKPOINT_DIR="s3://bucket/run"), env(CHECKPOINT_DIR="/checkpoints/a"),
        env(CHECKPOINT_EVERY="/no/place"), env(CHECKPOINT_DIR="relative"),
        {"pod/volumes": [{"name": "checkpoints", "nfs": {"server": "a", "path": "/b"}}]},
    ],
    "GK016": [hook(5), {**hook(60), "pod/terminationGracePeriodSeconds": 120}],
    "GK017": [
        {"pod/nodeSelector": {"topology.kubernetes.io/zone": "eu-west-1b"},
         "main/command": ["python", "t.py", "https://data.s3.eu-west-1.amazonaws.com/train"]},
        {"pod/nodeSelector": EKS, **env(DATA="s3://bucket/train")},
        {"pod/nodeSelector": EKS, **env(DATA="gs://b/train", STORAGE_ENDPOINT_URL="http://minio")},
        {"pod/nodeSelector": {"topology.kubernetes.io/region": "us-east-1"},
         **env(AWS_REGION="eu-central-1")},
    ],
    "GK020": [
        {"limits/nvidia.com/gpu": GONE},  # tolerates the taint: many charts do, everywhere
        {"limits/nvidia.com/gpu": GONE, **env(NVIDIA_VISIBLE_DEVICES="void")},
        {"limits/nvidia.com/gpu": GONE, "pod/nodeSelector": H100,
         "pod/resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]},
        {"limits/nvidia.com/gpu": GONE, "pod/nodeSelector": H100,
         "metadata/namespace": "kube-system"},
        {"limits/nvidia.com/gpu": GONE, "pod/nodeSelector": {"nvidia.com/gpu.present": "false"}},
    ],
    "GK021": [{}, {"pod/tolerations": [{"key": "sku", "value": "gpu"}]}],
    "GK022": [
        {"pod/nodeSelector": H100},
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-NVL-MIG-1g.12gb"}},
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "Tesla-T4-SHARED"}},
        {"pod/nodeSelector": {"nvidia.com/gpu.product": "Quadro-RTX-8000"}},
    ],
    "GK023": [
        ON_SPOT, {"pod/nodeSelector": H100},
        {"pod/nodeSelector": {**KARPENTER, "karpenter.k8s.aws/instance-gpu-name": "h100"}},
    ],
    "GK024": [mig("1g.10gb"), shared(), {"limits/nvidia.com/gpu": "8"}],
    "GK025": [
        mig("1g.10gb"),
        {"pod/nodeSelector": {"cloud.google.com/gke-gpu-partition-size": "1g.10gb"}},
    ],
    "GK029": [
        {**ON_SPOT, "pod/terminationGracePeriodSeconds": 120},
        {"pod/terminationGracePeriodSeconds": 600},
    ],
    "GK030": [ON_SPOT, {"job/podFailurePolicy": GONE}],
    "GK031": [
        {"template/annotations": {"karpenter.sh/do-not-disrupt": "true"}},
        {**ON_SPOT, "template/annotations": {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}},
    ],
    "GK032": [
        {"pod/initContainers": [sidecar(restartPolicy="Always")]},
        {"pod/containers": [
            {"name": "main", "image": "train:1", "args": ["curl localhost/quitquitquit"]},
            sidecar(),
        ]},
        {"pod/containers": [{"name": "main", "image": "a"}, {"name": "helper", "image": "a"}]},
    ],
    "GK036": [
        {"main/command": ["sh", "-c", "nvidia-smi mig -cgi 3g.40gb,1g.10gb -C"]},
        {"main/command": ["sh", "-c", "nvidia-smi mig -cgi 19 && nvidia-smi mig -cci"]},
    ],
}  # fmt: skip

BAD = {id: [changed(c) for c in cases] for id, cases in BAD_CHANGES.items()}
GOOD = {id: [changed(c) for c in cases] for id, cases in GOOD_CHANGES.items()}
