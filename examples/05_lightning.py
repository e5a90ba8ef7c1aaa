"""Lesson 5: Lightning. Three lines make its training survive; the rest is Lightning as always.

    gpukit submit --local --simulate-preemption 2s --max-interruptions 2 examples/05_lightning.py

By itself Lightning leaves with exit code 0 after SIGTERM, so the Job would count as complete, and a
run that goes on in the middle of an epoch sees the epoch's first batches again.
"""

import hashlib
import time
import warnings

from gpukit import gpu_job


@gpu_job(
    profile="mig-1g.10gb", spot=True, checkpoint_every="10m",
    packages=["lightning", "scikit-learn"],
)  # fmt: skip
def train(epochs: int = 4, lr: float = 3e-3, save_every: int = 20, pause: float = 0.02) -> dict:
    """Train a digits classifier, with dropout, shuffling and a cosine schedule.

    Args:
        epochs: passes over the digits.
        lr: highest learning rate.
        save_every: steps between saves; a lost node costs at most so many.
        pause: seconds that each step takes longer, so that there is something to interrupt.
    """
    import lightning.pytorch as pl
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from gpukit.integrations.lightning import GpukitCallback  # 1

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
            )

        def training_step(self, batch: list, index: int) -> torch.Tensor:
            image, label = batch
            time.sleep(pause)
            loss = nn.functional.cross_entropy(self.net(image), label)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> dict:
            optimizer = torch.optim.AdamW(self.parameters(), lr=lr)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    warnings.filterwarnings("ignore", module="lightning")
    pl.seed_everything(0)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    loader = DataLoader(data, batch_size=64, shuffle=True)

    model = Classifier()
    ckpt = GpukitCallback(every_steps=save_every)  # 2
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[ckpt], accelerator="auto", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, loader, ckpt_path=ckpt.resume())  # 3

    weights = b"".join(t.cpu().numpy().tobytes() for t in model.state_dict().values())
    accuracy = (model.eval().net(images).argmax(1) == data.tensors[1]).float().mean().item()
    return {
        "accuracy": round(accuracy, 4), "steps": trainer.global_step,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
