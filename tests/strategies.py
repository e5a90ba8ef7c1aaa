"""Random valid options of ``@gpu_job``, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gpukit.catalog import load_catalog

from .samples import place

__all__ = ["json_values", "options", "profiles"]

_CATALOG = load_catalog()

# text() draws ten times faster than from_regex()
_dns = st.text("ab9-", max_size=12).map(lambda inner: f"a{inner}z")
_word = st.text("aZ0-_.", max_size=12).map(lambda inner: f"A{inner}9")
_key = st.one_of(_word, st.builds("{}.example.com/{}".format, _dns, _word))
_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
_env_name = st.text("AZ_0", max_size=8).map("X{}".format)
_size = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["Mi", "Gi", "M", "G"]))
_path = st.lists(st.text("az09", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)
_seconds = st.builds("{}{}".format, st.integers(1, 200), st.sampled_from("smhd"))
_sub_path = st.one_of(st.just(""), st.builds("/{}".format, _path))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)

_volume = st.one_of(
    st.builds("pvc:{}{}{}".format, _dns, _sub_path, st.sampled_from(["", ":ro"])),
    st.sampled_from(["empty"]),
    st.builds("empty:{}".format, _size),
    st.builds("configmap:{}".format, _dns),
    st.builds("secret:{}".format, _dns),
)
_checkpoints = st.one_of(
    st.builds("{}://{}/{}".format, st.sampled_from(["s3", "gs", "az"]), _dns, _path),
    st.builds("pvc:{}{}".format, _dns, _sub_path),
    st.builds("new:{}".format, _size),
)
_toleration = st.one_of(
    st.fixed_dictionaries({"key": _key, "operator": st.just("Exists")}),
    st.fixed_dictionaries({"key": _key, "value": _word, "effect": st.just("NoSchedule")}),
    st.fixed_dictionaries(
        {
            "key": _key,
            "operator": st.just("Exists"),
            "effect": st.just("NoExecute"),
            "tolerationSeconds": st.integers(0, 3600),
        }
    ),
)
_override = st.fixed_dictionaries(
    {},
    optional={
        "schedulerName": _dns,
        "runtimeClassName": _dns,
        "hostUsers": st.booleans(),
        "terminationGracePeriodSeconds": st.integers(1, 600),
        "nodeSelector": st.dictionaries(_key, _word, max_size=2),
        "securityContext": st.fixed_dictionaries({"runAsUser": st.integers(1, 65535)}),
        "initContainers": st.lists(
            st.fixed_dictionaries({"name": _dns, "image": st.just("busybox:1.37")}),
            max_size=1,
        ),
        "containers": st.just(
            [{"name": "main", "resources": {"limits": {"ephemeral-storage": "20Gi"}}}]
        ),
    },
)


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """A profile that exists, with a GPU that offers it beside it now and then."""
    kind = draw(st.sampled_from(["cpu", "any", "full", "alternatives", "mig", "shared"]))
    count = draw(st.sampled_from([1, 1, 2, 4, 8]))
    suffix = "" if count == 1 else f":{count}"
    if kind == "full":
        return {"profile": draw(st.sampled_from(sorted(_CATALOG.names))) + suffix}
    if kind == "any":
        return {"profile": "gpu" + suffix}
    if kind == "alternatives":
        names = draw(st.lists(st.sampled_from(sorted(_CATALOG.names)), min_size=1, max_size=4))
        return {"profile": [name + suffix for name in names]}
    if kind == "mig":
        mig = draw(st.sampled_from(sorted(_CATALOG.mig_profiles)))
        gpus = [gpu.name for gpu in _CATALOG.find_mig(mig)]
        gpu = draw(st.none() | st.sampled_from(gpus))
        return {"profile": f"mig-{mig}", **({"gpu": gpu} if gpu else {})}
    if kind == "shared":
        gpu = draw(st.none() | st.sampled_from(sorted(_CATALOG.names)))
        return {"profile": "shared", **({"gpu": gpu} if gpu else {})}
    return {"profile": "cpu"}


_OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "namespace": _dns,
    "spot": st.sampled_from([True, False, "prefer"]),
    "image": st.sampled_from(["busybox", "ghcr.io/a/b:1.2", "r.io/x@sha256:" + "a" * 64]),
    "image_pull_secrets": st.lists(_dns, max_size=2, unique=True),
    "cpu": st.sampled_from(["500m", 2, "1.5", 64]),
    "memory": st.builds("{}Gi".format, st.integers(4, 2000)),
    "shm": st.sampled_from(["64Mi", "1Gi", "4Gi"]),
    "env": st.dictionaries(_env_name, _text, max_size=3),
    "volumes": st.dictionaries(st.builds("/{}".format, _path), _volume, max_size=3),
    "checkpoint_every": _seconds,
    "checkpoints": _checkpoints,
    "team": _word,
    "cost_center": _word,
    "labels": st.dictionaries(_key, _word, max_size=3),
    "annotations": st.dictionaries(_key, _text, max_size=2),
    "retries": st.integers(0, 100),
    "max_preemptions": st.integers(0, 1000),
    "deadline": st.sampled_from(["300d", "1h"]),
    "timeout": st.sampled_from(["59m", "10s"]),
    "hang_timeout": _seconds,
    "ttl": _seconds,
    "queue": _dns,
    "priority": _dns,
    "node_selector": st.dictionaries(_key, _word, max_size=2),
    "tolerations": st.lists(_toleration, max_size=2),
    "service_account": _dns,
    "packages": st.lists(st.sampled_from(["einops", "wandb==0.19.1"]), max_size=2),
    "pod": _override,
}


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Options that make_spec accepts and the generic platform can place."""
    found = draw(profiles())
    chosen = draw(st.sets(st.sampled_from(sorted(_OPTIONAL)), max_size=8))
    for name in sorted(chosen):
        found[name] = draw(_OPTIONAL[name])
    if draw(st.booleans()) and place(**found).price_per_hour is not None:
        found["max_cost"] = draw(st.sampled_from(["$5", "1200.50"]))
    if draw(st.booleans()):
        secret = st.builds("{}/{}".format, _dns, _word)
        names_left = _env_name.filter(lambda name: name not in found.get("env", {}))
        found["secrets"] = draw(st.dictionaries(names_left, secret, max_size=2))
    if found.get("spot") is not True:
        stages = ["dev", "training", "inference", "inference-sla"]
        found["stage"] = draw(st.sampled_from(stages))
    return found
