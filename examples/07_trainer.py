"""Lesson 7: the Hugging Face Trainer. Three lines make it survive.

    gpukit submit --local --simulate-preemption 2s --max-interruptions 2 examples/07_trainer.py

By itself the Trainer returns normally after SIGTERM, so the Job would count as complete.
"""

import hashlib
import time

from gpukit import gpu_job, output_dir


@gpu_job(
    profile="mig-1g.10gb", spot=True, checkpoint_every="10m",
    packages=["transformers", "accelerate", "scikit-learn"],
    env={"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"},
)  # fmt: skip
def train(epochs: int = 4, lr: float = 3e-3, save_every: int = 20, pause: float = 0.02) -> dict:
    """Train a digits classifier with dropout and a linear schedule.

    Args:
        epochs: passes over the digits.
        lr: highest learning rate.
        save_every: steps between saves; a lost node costs at most so many.
        pause: seconds that each step takes longer, so that there is something to interrupt.
    """
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from transformers import Trainer, TrainingArguments, set_seed

    from gpukit.integrations.transformers import GpukitCallback  # 1

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
            )

        def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict:
            time.sleep(pause)
            logits = self.net(pixels)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    set_seed(0)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images, dtype=torch.float32) / 16
    data = [{"pixels": x, "labels": y} for x, y in zip(pixels, labels.tolist(), strict=True)]

    ckpt = GpukitCallback(every_steps=save_every)  # 2
    trainer = Trainer(
        model=Classifier(), train_dataset=data, callbacks=[ckpt],
        args=TrainingArguments(
            output_dir=str(output_dir() / "trainer"), num_train_epochs=epochs, learning_rate=lr,
            per_device_train_batch_size=64, save_strategy="no", logging_steps=10, report_to=[],
            disable_tqdm=True,
        ),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=ckpt.resume())  # 3

    model = trainer.model.eval().cpu()
    weights = b"".join(t.numpy().tobytes() for t in model.state_dict().values())
    right = model.net(pixels).argmax(1) == torch.tensor(labels)
    return {
        "accuracy": round(right.float().mean().item(), 4), "steps": trainer.state.global_step,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
