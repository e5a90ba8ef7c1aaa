"""Lesson 6: a loop written with Accelerate, interrupted in the middle of an accumulation.

gpukit submit --local --simulate-preemption 2s --max-interruptions 2 examples/06_accelerate.py
"""

import hashlib
import time

from gpukit import gpu_job


@gpu_job(
    profile="mig-1g.10gb", spot=True, checkpoint_every="10m",
    packages=["accelerate", "scikit-learn"],
)  # fmt: skip
def train(epochs: int = 4, lr: float = 3e-3, save_every: int = 25, pause: float = 0.02) -> dict:
    """Train a digits classifier; four batches make one step of the optimizer.

    Args:
        epochs: passes over the digits.
        lr: highest learning rate.
        save_every: batches between saves; a lost node costs at most so many.
        pause: seconds that each batch takes longer, so that there is something to interrupt.
    """
    import torch
    from accelerate import Accelerator
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from gpukit.integrations.accelerate import checkpointer  # 1

    torch.manual_seed(0)
    accelerator = Accelerator(gradient_accumulation_steps=4)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * 8)
    model, optimizer, scheduler, loader = accelerator.prepare(
        model, optimizer, scheduler, DataLoader(data, batch_size=64, shuffle=True)
    )

    ckpt = checkpointer(  # 2
        accelerator, model=model, optimizer=optimizer, scheduler=scheduler, every_steps=save_every
    )
    for _ in ckpt.epochs(epochs):  # 3
        for image, label in ckpt.batches(loader):
            time.sleep(pause)
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(image), label)
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            ckpt.log(loss=loss)

    model.eval()
    predicted = model(images.to(accelerator.device)).argmax(1).cpu()
    state = accelerator.unwrap_model(model).state_dict()
    weights = b"".join(t.cpu().numpy().tobytes() for t in state.values())
    return {
        "accuracy": round((predicted == data.tensors[1]).float().mean().item(), 4),
        "steps": ckpt.step,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
