"""Makes a Hugging Face directory for the tests, in the environment of the extra quantize-hf.

``python hf_models.py FOLDER`` trains a small BERT on made-up reviews and saves it, and examples
beside the folder.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

GOOD, BAD = ["good", "great", "fine", "lovely"], ["bad", "awful", "poor", "dull"]
OTHER = "the a film plot was and with of very actor scene music quite long short".split()  # noqa: SIM905
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *OTHER]


def review(draw: random.Random) -> dict[str, object]:
    """Return a text with more good words than bad ones, or the other way round."""
    label, few = draw.randrange(2), draw.randrange(2)
    most = draw.choices(GOOD if label else BAD, k=few + draw.randint(1, 2))
    rest = draw.choices(BAD if label else GOOD, k=few)
    words = [*most, *rest, *draw.choices(OTHER, k=draw.randint(2, 12))]
    draw.shuffle(words)
    return {"text": " ".join(words), "label": label}


def tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=32,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def classifier(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    draw = random.Random(0)
    tokens = tokenizer(folder)
    model = BertForSequenceClassification(BertConfig(
        vocab_size=len(WORDS), hidden_size=48, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=32, num_labels=2,
    ))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(120):
        batch = [review(draw) for _ in range(32)]
        inputs = tokens([b["text"] for b in batch], padding=True, return_tensors="pt")
        labels = torch.tensor([b["label"] for b in batch])
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.4f}")
    model.eval().save_pretrained(folder)
    for name, count in (("calib", 60), ("eval", 800)):
        lines = [json.dumps(review(draw)) for _ in range(count)]
        (folder.parent / f"{name}.jsonl").write_text("\n".join(lines))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    classifier(target)
