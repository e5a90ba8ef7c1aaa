"""What is needed beside the tensors, and which GPU or slice holds it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukit.catalog import load_catalog
from gpukit.cli.main import main, run
from gpukit.errors import GpukitError, UsageError
from gpukit.finops.fit import CONTEXT, WORKSPACE, Part, need_of, rooms
from gpukit.fit.language_model import (
    CacheShape,
    Weights,
    cache_part,
    cache_shape,
    weights_part,
)

CATALOG = load_catalog()
GENERIC = CATALOG.platform("generic")
GIB, MIB = 2**30, 2**20

LLAMA_8B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip


def test_head_room_context_and_workspaces_come_on_top() -> None:
    need = need_of([Part("parameters", 10 * GIB, "")])
    assert need.total == 11 * GIB + CONTEXT + WORKSPACE
    assert not need.at_least
    assert need_of([Part("parameters", 10 * GIB, ""), Part("activations", None, "")]).at_least


@pytest.mark.parametrize(
    ("gib", "on", "profile"),
    [
        ("9.4", "a100-80gb", "mig-1g.10gb"),  # 9.5 GiB are in it
        ("9.6", "a100-80gb", "mig-1g.20gb"),  # and not the 10 of its label
        ("19.6", "h100", "mig-3g.40gb"),  # 19.5 GiB are in 20gb
        ("39.3", "h100", "h100"),
        ("79.0", "h100", "h100"),
        ("14.7", "t4", None),  # 14.56 of 16 GB
        ("80.0", "h100", None),
        ("16.5", "h200", "mig-1g.35gb"),  # 16.0 GiB in 1g.18gb, the least of its label
    ],
)
def test_what_is_usable_counts_and_not_the_label(gib: str, on: str, profile: str | None) -> None:
    found = rooms(int(Decimal(gib) * GIB), CATALOG, GENERIC, gpus=[on])
    fitting = [room.option.profile for room in found if room.fits]
    assert (fitting[0] if fitting else None) == profile


def test_cheapest_first_and_unknown_prices_last() -> None:
    found = rooms(6 * GIB, CATALOG, GENERIC)
    prices = [room.price for room in found]
    known = [price for price in prices if price is not None]
    assert prices[: len(known)] == sorted(known)
    assert None in prices
    best = next(room for room in found if room.fits)
    assert (best.option.profile, best.option.gpu) == ("t4g", "t4g")
    for room in found:
        assert room.fits is (None if room.spare is None else room.spare >= 0)


def test_only_what_the_platform_can_place() -> None:
    auto = rooms(GIB, CATALOG, CATALOG.platform("eks-auto"))
    assert auto
    assert all(room.option.kind == "full" for room in auto), "it has no MIG"
    gke = {room.option.gpu for room in rooms(GIB, CATALOG, CATALOG.platform("gke"))}
    assert "t4g" not in gke
    assert {"l4", "h100"} <= gke


@given(st.integers(0, 400 * GIB), st.integers(0, 40 * GIB))
def test_more_need_never_fits_in_less(need: int, more: int) -> None:
    h100 = ["h100", "t4", "b200"]
    before = [room.fits for room in rooms(need, CATALOG, GENERIC, gpus=h100)]
    after = [room.fits for room in rooms(need + more, CATALOG, GENERIC, gpus=h100)]
    assert all(was or not now for was, now in zip(before, after, strict=True))


# ---- language models


def test_cache_of_llama() -> None:
    shape = cache_shape(LLAMA_8B)
    part = cache_part(shape, context=8192, concurrency=16, each=2)
    assert part.size == 16 * 8192 * 128 * 1024, "128 KiB a token"


@pytest.mark.parametrize(
    ("config", "values", "tokens"),
    [
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 2 * 768, 12 * 1000),  # gpt2: all heads
        (LLAMA_8B | {"head_dim": 64}, 2 * 8 * 64, 32 * 1000),
        (LLAMA_8B | {"multi_query": True, "num_key_value_heads": None}, 2 * 128, 32 * 1000),
        (LLAMA_8B | {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 576, 32 * 1000),
        (LLAMA_8B | {"model_type": "mistral", "sliding_window": 100}, 2048, 32 * 100),
        (LLAMA_8B | {"sliding_window": 100, "use_sliding_window": False}, 2048, 32 * 1000),
        (
            LLAMA_8B | {"sliding_window": 100, "num_hidden_layers": 2,
                        "layer_types": ["sliding_attention", "full_attention"]},
            2048, 1100,
        ),
        ({"text_config": LLAMA_8B, "vision_config": {}}, 2048, 32 * 1000),
    ],
)  # fmt: skip
def test_cache_shapes(config: dict[str, object], values: int, tokens: int) -> None:
    shape = cache_shape(config)
    assert (shape.values, shape.tokens(1000)) == (values, tokens)


def test_what_keeps_no_such_cache_is_refused() -> None:
    for config, id in (
        (LLAMA_8B | {"model_type": "mamba2"}, "fit-cache-form"),
        ({"model_type": "resnet"}, "fit-config"),
    ):
        with pytest.raises(UsageError) as caught:
            cache_shape(config)
        assert caught.value.id == id


def test_embeddings_stay_in_two_bytes() -> None:
    weights = Weights(8 * 10**9, 10**9, "here")
    assert weights_part(weights, "bf16").size == 16 * 10**9
    assert weights_part(weights, "int8").size == 7 * 10**9 + 2 * 10**9
    assert weights_part(weights, "int4").size == 7 * 10**9 * 9 // 16 + 2 * 10**9
    assert weights_part(Weights(1, 0, "", stored=123), "bf16").size == 123, "quantized already"


def test_windows_do_not_grow() -> None:
    shape = CacheShape(2, (10, None), "")
    assert [shape.tokens(n) for n in (5, 10, 20)] == [10, 20, 30]


# ---- on the command line, without a model


def test_numbers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = "fit --inference --parameters 8B --layers 32 --kv-heads 8 --head-dim 128"
    assert main([*words.split(), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = {part["name"]: part["bytes"] for part in found["parts"]}
    assert sizes["weights"] == 16 * 10**9
    assert sizes["KV cache"] == 2048 * 128 * 1024
    assert sizes["activations"] is None
    assert found["at_least"] is True
    assert found["recommended"] is None, "a lower bound recommends nothing"
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    assert "needs at least" in shown
    assert "\n>" not in shown


@pytest.mark.parametrize(
    ("words", "id"),
    [
        ("", "fit-what"),
        ("--parameters 8B", "fit-numbers"),
        ("--inference --parameters many", "fit-parameters"),
        ("--inference --parameters -1B", "fit-parameters"),
        ("model.py --parameters 8B", "fit-both"),
        ("missing.py", "file-missing"),
        ("no_such_module:make", "factory-module"),
        ("missing/config.json --inference", "fit-config-missing"),
        ("--inference --parameters 8B --precision bf16-mixed", "fit-precision"),
        ("--inference --parameters 8B --gpu h1000", "gpu-unknown"),
        ("--inference --parameters 8B --platform nowhere", "platform-unknown"),
    ],
)
def test_what_cannot_be_answered(
    words: str, id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GpukitError) as caught:
        run(["fit", *words.split()])
    assert (caught.value.id, bool(caught.value.hint)) == (id, True)
