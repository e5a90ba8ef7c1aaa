"""Lesson 2: interrupt it as often as you like.

    gpukit submit --local --simulate-preemption 5s examples/02_interrupted.py
    gpukit submit --local --simulate-node-loss 5s,±2s examples/02_interrupted.py --workers 4

A preemption is SIGTERM, then the grace period: the job saves at its next safe point and leaves, and
no step is lost. A node loss is SIGKILL without notice: steps since the last whole save come again.
Either way the weights at the end are those of a run that nobody disturbed, bit by bit, though the
images here are shifted at random inside the worker processes of a shuffled loader, and the weights
that count are a running average which the Checkpointer keeps under a name of its own.
"""

import hashlib

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from gpukit import Checkpointer, gpu_job, output_dir


class ShiftedDigits(Dataset):
    """Digits, each moved by up to one pixel whenever it is loaded."""

    def __init__(self) -> None:
        images, labels = load_digits(return_X_y=True)
        self.x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        self.y = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        down, right = torch.randint(-1, 2, (2,)).tolist()
        return self.x[index].roll((down, right), (1, 2)), self.y[index]


@gpu_job(
    profile="mig-1g.10gb", spot=True, checkpoint_every="10m", max_preemptions=50,
    packages=["scikit-learn"],
)  # fmt: skip
def train(epochs: int = 20, workers: int = 2, save_every: int = 50) -> dict:
    """Train a digits classifier on shifted images, and average its weights.

    Args:
        epochs: passes over the images.
        workers: processes that load them.
        save_every: steps between checkpoints.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = ShiftedDigits()
    loader = DataLoader(data, 32, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    layers = (nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    model = nn.Sequential(*layers)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    ckpt = Checkpointer(model=model, optimizer=optimizer, average=average, every_steps=save_every)
    if ckpt.resumed:
        print(f"going on at step {ckpt.resumed.step}, in epoch {ckpt.resumed.epoch}")
    for _ in ckpt.epochs(epochs):
        for x, y in ckpt.batches(loader):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            ckpt.log(loss=loss)

    average.eval()
    accuracy = (average(data.x).argmax(1) == data.y).float().mean().item()
    weights = output_dir() / "weights.pt"
    torch.save(average.state_dict(), weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return {"training accuracy": round(accuracy, 4), "steps": ckpt.step, "sha256": digest}
