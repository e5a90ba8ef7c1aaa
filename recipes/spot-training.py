"""Train on spot capacity: a PyTorch loop that goes on where it was interrupted.

The full loop: mixed precision where there is a GPU, gradient clipping, a schedule by step, an
evaluation after each epoch, and the best weights kept. Put your own model and data into `build`.

    gpukit submit --local --simulate-preemption 10s spot-training.py --epochs 5
    gpukit render spot-training.py | kubectl apply --server-side -f -
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from gpukit import Checkpointer, gpu_job, output_dir


def build() -> tuple[nn.Module, Dataset, Dataset]:
    """Return the model, the training data and the test data."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Dropout(0.2), nn.Linear(256, 10))
    return model, TensorDataset(x[:-360], y[:-360]), TensorDataset(x[-360:], y[-360:])


class Best:
    """The best accuracy so far: part of the checkpoint, since it has a state."""

    accuracy = 0.0

    def state_dict(self) -> dict:
        return {"accuracy": self.accuracy}

    def load_state_dict(self, state: dict) -> None:
        self.accuracy = state["accuracy"]


@gpu_job(
    profile=["h100", "a100-80gb", "a100-40gb"],
    spot=True,
    checkpoint_every="10m",
    checkpoints="new:50Gi",
    max_preemptions=100,
    deadline="7d",
    packages=["scikit-learn"],
)
def train(epochs: int = 10, batch: int = 64, lr: float = 2e-3, workers: int = 2) -> dict:
    """Train a classifier.

    Args:
        epochs: passes over the training data.
        batch: samples per step.
        lr: highest learning rate.
        workers: processes that load data.
    """
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    model, train_set, test_set = build()
    model.to(device)
    loader = DataLoader(train_set, batch, shuffle=True, num_workers=workers, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, epochs * len(loader))
    best = Best()

    ckpt = Checkpointer(model=model, optimizer=optimizer, scheduler=scheduler, best=best)
    for epoch in ckpt.epochs(epochs):
        model.train()
        for x, y in ckpt.batches(loader):
            with half:
                loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            ckpt.log(loss=loss)
        accuracy = evaluate(model, test_set, device)
        print(f"epoch {epoch}: accuracy {accuracy:.4f}")
        if accuracy > best.accuracy:
            best.accuracy = accuracy
            torch.save(model.state_dict(), output_dir() / "best.pt")
    return {"best accuracy": round(best.accuracy, 4), "steps": ckpt.step}


@torch.no_grad()
def evaluate(model: nn.Module, data: Dataset, device: str) -> float:
    """Return the share of right answers."""
    model.eval()
    right = 0
    for x, y in DataLoader(data, 512):
        right += int((model(x.to(device)).argmax(1).cpu() == y).sum())
    return right / len(data)
