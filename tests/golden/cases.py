"""The declarations whose manifests are kept as golden files, one a file."""

from __future__ import annotations

from typing import Any

__all__ = ["CASES"]

CASES: dict[str, dict[str, Any]] = {
    "cpu": {},
    "full-gpu": {"profile": "h100"},
    "multi-gpu": {"profile": "a100-80gb:8", "cpu": "64", "memory": "800Gi", "shm": "400Gi"},
    "any-gpu": {"profile": "gpu"},
    "alternatives": {"profile": ["h100:2", "h200:2"]},
    "arm64": {"profile": "gb200:4"},
    "mig-spot": {
        "profile": "mig-1g.10gb",
        "spot": True,
        "checkpoint_every": "1h",
        "team": "recsys",
        "cost_center": "ml-platform",
        "labels": {"environment": "prod"},
    },
    "mig-media-engines": {"profile": "mig-1g.24gb+me.all", "gpu": "rtx-pro-6000"},
    "mig-on-gpu": {"profile": "mig-3g.20gb", "gpu": "a100"},
    "shared": {"profile": "shared", "stage": "dev"},
    "shared-on-gpu": {"profile": "shared", "gpu": "t4"},
    "spot-object-store": {
        "profile": "l4",
        "spot": True,
        "checkpoints": "s3://bucket/runs",
        "node_selector": {"karpenter.sh/capacity-type": "spot"},
        "max_cost": "$40",
        "timeout": "12h",
        "deadline": "2d",
    },
    "spot-preferred": {"profile": "t4", "spot": "prefer", "checkpoints": "gs://bucket/runs"},
    "on-demand": {"profile": "a10g", "spot": False, "retries": 3, "stage": "inference-sla"},
    "queue": {
        "profile": "h100",
        "queue": "research",
        "priority": "low",
        "namespace": "team-a",
        "checkpoints": "pvc:shared-runs",
    },
    "priority": {"profile": "h100", "priority": "urgent", "ttl": "1h"},
    "claim": {"profile": "h100", "checkpoints": "pvc:shared-runs/vision", "hang_timeout": "30m"},
    "new-claim": {"profile": "h100", "checkpoints": "new:200Gi", "namespace": "team-a"},
    "volumes": {
        "checkpoints": "pvc:lake/checkpoints",
        "volumes": {
            "/data": "pvc:lake/imagenet:ro",
            "/labels": "pvc:labels",
            "/scratch": "empty:50Gi",
            "/etc/app": "configmap:app",
            "/etc/keys": "secret:keys",
        },
    },
    "environment": {
        "image": "ghcr.io/example/train@sha256:" + "0" * 64,
        "image_pull_secrets": ["registry"],
        "env": {"GREETING": "a $(B), $$ and 'quotes' \"too\"", "HF_HOME": "/data/hf", "NO": "no"},
        "secrets": {"WANDB_API_KEY": "wandb/api-key"},
        "packages": ["einops==0.8.1"],
        "service_account": "trainer",
        "annotations": {"example.com/note": "two\nlines"},
    },
    "no-deadline": {"deadline": None, "ttl": None, "max_preemptions": 0, "retries": 0},
    "most-preemptions": {"profile": "l4", "spot": True, "max_preemptions": 1000},
    "tolerations": {
        "profile": "h100",
        "tolerations": [
            {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
            {"key": "dedicated", "operator": "Exists"},
        ],
        "node_selector": {"pool": "h100"},
    },
    "override": {
        "profile": "h100",
        "pod": {
            "schedulerName": "volcano",
            "terminationGracePeriodSeconds": 600,
            "nodeSelector": {"topology.kubernetes.io/zone": "us-east-1a"},
            "securityContext": {"runAsUser": 2000, "supplementalGroups": [3000]},
            "initContainers": [
                {
                    "name": "proxy",
                    "image": "envoyproxy/envoy:v1.35",
                    "restartPolicy": "Always",
                    "startupProbe": {"httpGet": {"path": "/ready", "port": 9901}},
                }
            ],
            "containers": [
                {
                    "name": "main",
                    "env": [
                        {"name": "USER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
                    ],
                    "resources": {"limits": {"ephemeral-storage": "50Gi"}},
                }
            ],
            "volumes": [{"name": "work", "ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "100Gi"}},
            }}}}],
        },
    },
}  # fmt: skip
