"""A Job that is right in every way, and the same with something changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["GONE", "RIGHT", "changed"]

GONE = object()

RIGHT: dict[str, Any] = yaml.safe_load("""
apiVersion: batch/v1
kind: Job
metadata: {name: train, labels: {team: vision, cost-center: ml}}
spec:
  activeDeadlineSeconds: 86400
  ttlSecondsAfterFinished: 604800
  backoffLimit: 3
  podFailurePolicy:
    rules:
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
  template:
    metadata:
      labels: {team: vision, cost-center: ml}
      annotations: {}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 25
      tolerations:
      - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
      nodeSelector: {}
      containers:
      - name: main
        image: ghcr.io/example/train:1.4
        command: [python, train.py, --checkpoint-dir, /checkpoints/run]
        env:
        - {name: EPOCHS, value: "3"}
        resources:
          requests: {cpu: "4", memory: 22Gi}
          limits: {memory: 22Gi, nvidia.com/gpu: "1"}
        volumeMounts:
        - {name: checkpoints, mountPath: /checkpoints}
      volumes:
      - {name: checkpoints, persistentVolumeClaim: {claimName: checkpoints}}
""")

_PLACES = {
    "job": "spec",
    "template": "spec.template.metadata",
    "pod": "spec.template.spec",
    "main": "spec.template.spec.containers.0",
    "limits": "spec.template.spec.containers.0.resources.limits",
    "requests": "spec.template.spec.containers.0.resources.requests",
}


def changed(changes: Mapping[str, Any]) -> str:
    """Return RIGHT as YAML with other values: ``{"pod/nodeSelector": {…}}``; GONE takes away."""
    found = copy.deepcopy(RIGHT)
    for where, value in changes.items():
        place, _, key = where.partition("/")
        inner: Any = found
        for step in filter(None, _PLACES.get(place, place).split(".")):
            inner = inner[int(step) if step.isdecimal() else step]
        if value is GONE:
            del inner[key]
        else:
            inner[key] = value
    return yaml.safe_dump(found, sort_keys=False)
