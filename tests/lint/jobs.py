"""Job files with one mistake each, and their near misses, by rule."""

from __future__ import annotations

__all__ = ["BAD", "GOOD", "job"]

LABELS = 'team="vision", cost_center="ml"'
SAVES = "    ckpt = Checkpointer(model=Net())\n    for step in ckpt.epochs(3): ..."


def job(options: str, body: str = "    return {}", imports: str = "") -> str:
    return (
        f"from gpukit import Checkpointer, gpu_job\n{imports}\n\n"
        f"class Net: ...\n\n\n@gpu_job(\n    {options},\n    {LABELS},\n)\n"
        f"def train(epochs: int = 3) -> dict:\n{body}\n"
    )


def unlabelled(options: str) -> str:
    return job(options).replace(f"    {LABELS},\n", "")


_SPOT = 'profile="l4", spot=True, checkpoint_every="1h"'
_TORCH = "import torch"
_LOOP = "    model = torch.nn.Linear(2, 2)\n    model.train()"
_TOKEN = "hf_" + "aBcD1234" * 5
_CUDA = "    torch.nn.Linear(2, 2).cuda()"
_SHARE = "    torch.cuda.set_per_process_memory_fraction({})"

BAD: dict[str, list[str]] = {
    "GK003": [job('profile="h100", memory="64Gi"')],
    "GK004": [job('profile="h100"', _SHARE.format("0.3"), _TORCH)],
    "GK006": [job('profile="shared"'), job('profile="shared", stage="inference"')],
    "GK007": [job('profile="mig-1g.10gb", stage="dev"')],
    "GK009": [job(_SPOT, _LOOP, _TORCH), job('profile="l4", spot="prefer"')],
    "GK010": [job('profile="l4", spot="prefer", stage="inference-sla"')],
    "GK011": [unlabelled('profile="l4"'), unlabelled('profile="l4", labels={"owner": "me"}')],
    "GK012": [job('profile="l4", deadline=None')],
    "GK013": [job("ttl=None")],
    "GK014": [
        job('env={"WANDB_API_KEY": "0f3a9c7b21e84d56a0f3a9c7b21e84d56a0f3a9c"}'),
        job(f'env={{"SETUP": "{_TOKEN}"}}'),
        job('pod={"containers": [{"name": "main", "env": '
            '[{"name": "DB_PASSWORD", "value": "hunter2!x"}]}]}'),
    ],
    "GK015": [
        job('profile="l4"', SAVES),
        job('profile="l4"', SAVES, "import logging\n\nlog = logging.getLogger(__name__)"),
        job('profile="l4", checkpoints="new:9Gi"',
            SAVES.replace("model=", 'directory="/tmp/c", model=')),
        job('profile="l4", volumes={"/scratch": "empty:9Gi"}, checkpoints="new:9Gi"',
            SAVES.replace("model=", 'directory="/scratch/c", model=')),
    ],
    "GK017": [
        job('profile="l4", checkpoints="gs://bucket/x", '
            'node_selector={"eks.amazonaws.com/capacityType": "ON_DEMAND"}', SAVES),
    ],
    "GK019": [job('profile="h100:4"', _LOOP, _TORCH)],
    "GK020": [job('profile="cpu"', _CUDA, _TORCH)],
    "GK005": [job('profile="l4", pod={"tolerations": []}').replace(
        "[]", '[{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]')],
    "GK023": [job(f'{_SPOT}, node_selector={{"karpenter.sh/capacity-type": "spot"}}', SAVES)],
    "GK029": [job(f'{_SPOT}, node_selector={{"karpenter.sh/capacity-type": "spot"}}, '
                  'pod={"terminationGracePeriodSeconds": 900}', SAVES)],
}  # fmt: skip

GOOD: dict[str, list[str]] = {
    "GK003": [job('profile="h100"'), job('profile="h100", memory="75Gi"'), job('memory="64Gi"')],
    "GK004": [
        job('profile="h100"', _SHARE.format("0.9"), _TORCH),
        job('profile="t4"', _SHARE.format("0.3"), _TORCH),
        job('profile="h100:2"', _SHARE.format("0.3"), _TORCH),
    ],
    "GK006": [job('profile="shared", stage="dev"'), job('profile="mig-1g.10gb"')],
    "GK007": [job('profile="mig-1g.10gb"'), job('profile="shared", stage="dev"')],
    "GK009": [
        job(_SPOT, SAVES), job('profile="l4"', _LOOP, _TORCH),
        job(_SPOT, "    import somebodys_trainer\n    somebodys_trainer.fit()"),
        job('profile="l4", spot=True, timeout="20m"', _LOOP, _TORCH),
        job('profile="l4", spot=True, stage="inference"', _LOOP, _TORCH),
    ],
    "GK010": [job('profile="l4", stage="inference-sla"'), job(_SPOT, SAVES)],
    "GK011": [job('profile="l4"'), unlabelled('profile="cpu"'),
              unlabelled('profile="l4", labels={"owner": "me", "example.com/project": "x"}')],
    "GK012": [job('profile="l4"'), job("deadline=None")],
    "GK013": [job('profile="l4"')],
    "GK014": [job('env={"TOKENIZERS_PARALLELISM": "false", "OPENAI_API_KEY": "EMPTY"}'),
              job('secrets={"WANDB_API_KEY": "wandb/api-key"}')],
    "GK015": [
        job('profile="l4", checkpoint_every="1h"', SAVES), job(_SPOT, SAVES), job('profile="l4"'),
        job('profile="l4"') + "\nif __name__ == '__main__':\n    Checkpointer(directory='/c')\n",
        job('profile="l4", volumes={"/runs": "pvc:runs"}',
            SAVES.replace("model=", 'directory="/runs/c", model=')),
    ],
    "GK017": [
        job('profile="l4", checkpoints="s3://bucket/x", '
            'node_selector={"eks.amazonaws.com/capacityType": "ON_DEMAND"}', SAVES),
        job('profile="l4", checkpoints="gs://bucket/x"', SAVES),
    ],
    "GK019": [
        job('profile="h100"', _LOOP, _TORCH),
        job('profile="h100:4"', _LOOP, "import torch\nfrom torch import distributed"),
        job('profile="h100:4"', "    import somebodys_code\n    somebodys_code.fit()", _TORCH),
    ],
    "GK020": [
        job('profile="l4"', _CUDA, _TORCH),
        job('profile="cpu"', "    if torch.cuda.is_available():\n    " + _CUDA, _TORCH),
    ],
    "GK005": [job('profile="l4"'), job('pod={"tolerations": []}')],
    "GK023": [job(_SPOT, SAVES)],
    "GK029": [job(f'{_SPOT}, node_selector={{"karpenter.sh/capacity-type": "spot"}}', SAVES)],
}  # fmt: skip
