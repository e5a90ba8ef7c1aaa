"""Lesson 1: a job is a function.

    python examples/01_digits.py                            # a plain script, as ever
    gpukit submit --local examples/01_digits.py --epochs 5  # the same as a run: record, log, result
    gpukit render examples/01_digits.py                     # what a cluster would get

A small convolutional network learns to read the 1,797 handwritten digits that scikit-learn
carries. Dropout, shuffling and a cosine schedule are in it on purpose: each of them makes a
resume wrong that restores the weights alone.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gpukit import Checkpointer, gpu_job, output_dir


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(64 * 2 * 2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # 8x8 -> 4x4
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # 4x4 -> 2x2
        return self.head(self.dropout(x.flatten(1)))


@gpu_job(profile="mig-1g.10gb", spot=True, checkpoint_every="10m", packages=["scikit-learn"])
def train(epochs: int = 20, lr: float = 3e-3, dropout: float = 0.3, save_every: int = 50) -> dict:
    """Train a digits classifier.

    Args:
        epochs: passes over the training images.
        lr: highest learning rate of the cosine schedule.
        dropout: share of the features that are dropped.
        save_every: steps between checkpoints, besides `checkpoint_every`.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)  # a net this small is fastest so
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32, device=device).view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels, device=device)
    loader = DataLoader(TensorDataset(x[:-360], y[:-360]), batch_size=32, shuffle=True)
    model = Net(dropout).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

    ckpt = Checkpointer(
        model=model, optimizer=optimizer, scheduler=scheduler, every_steps=save_every
    )
    for _ in ckpt.epochs(epochs):
        model.train()
        for image, label in ckpt.batches(loader):
            loss = F.cross_entropy(model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ckpt.log(loss=loss)
        scheduler.step()

    model.eval()
    accuracy = (model(x[-360:]).argmax(1) == y[-360:]).float().mean().item()
    torch.save(model.state_dict(), output_dir() / "weights.pt")
    return {"accuracy": round(accuracy, 4), "steps": ckpt.step}


if __name__ == "__main__":
    print(train())
