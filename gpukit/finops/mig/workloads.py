"""What has to run: workloads as people write them, and the smallest slice for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gpukit.catalog import Catalog
from gpukit.catalog.mig import MigCard, MigSlice, mig_cards
from gpukit.errors import PlacementError, SpecError, did_you_mean
from gpukit.quantity import format_bytes, parse_bytes

__all__ = ["Workload", "read_workloads", "smallest_slice"]

_GIB = 2**30
_KEYS = ("name", "memory", "compute", "count", "media", "profile")
_LEAST = 2**20
_MOST = 10_000
_EXAMPLE = 'write "workloads:" and below it items such as {name: serve, memory: 8Gi, count: 4}'


@dataclass(frozen=True)
class Workload:
    """A number of jobs of one kind.

    Attributes:
        name: what it is called.
        memory: bytes of GPU memory that each needs at its peak.
        compute: compute slices that each needs, of the 7 (or 4) of a card.
        count: how many of them run at a time.
        media: each needs the engines that only one slice of a card can have.
        profile: the MIG profile, where the person has chosen it.
    """

    name: str
    memory: int = 0
    compute: int = 1
    count: int = 1
    media: bool = False
    profile: str | None = None


def read_workloads(data: object) -> tuple[Workload, ...]:
    """Return the workloads of a parsed YAML or JSON file.

    Args:
        data: a list of workloads, or a mapping with the one key ``workloads``.

    Raises:
        SpecError: not of that form, an unknown key, or a value that cannot be.
    """
    items = data
    if isinstance(data, Mapping):
        unknown = [key for key in data if key != "workloads"]
        if unknown:
            raise SpecError(
                "workloads-key", f"{unknown[0]!r} is not a key of a file of workloads", _EXAMPLE
            )
        items = data.get("workloads")
    if not isinstance(items, list) or not items:
        raise SpecError("workloads-form", "there are no workloads in it", _EXAMPLE)
    found = tuple(_workload(item, number) for number, item in enumerate(items, 1))
    name, times = Counter(one.name for one in found).most_common(1)[0]
    if times > 1:
        raise SpecError(
            "workloads-name", f"{times} workloads are called {name!r}",
            "give each its own name; count: N asks for several of one kind",
        )  # fmt: skip
    return found


def smallest_slice(
    workload: Workload, card: MigCard, catalog: Catalog, *, lean: bool = False
) -> MigSlice:
    """Return the profile of a card that a workload needs: the one that it names, or the smallest.

    Smallest is by memory slots, then by compute slices. On every card a smaller profile goes
    wherever a larger one would, so that nothing is lost by that choice.

    Args:
        workload: the job.
        card: the GPU.
        catalog: for the names of profiles of other GPUs.
        lean: take a profile without media engines (``-me``) where there is one, so that they are
            left for others; otherwise the plain one.

    Raises:
        PlacementError: the card has no such profile, or none is large enough.
    """
    if workload.profile is not None:
        return _named(workload, workload.profile, card, catalog)
    fitting = [
        one
        for one in card.slices
        if one.usable >= workload.memory
        and one.compute >= workload.compute
        and (one.extra or not workload.media)
    ]
    if not fitting:
        largest = max(card.slices, key=lambda one: one.usable)
        raise PlacementError(
            "mig-too-large",
            f"{workload.name}: no slice of {card.gpu} has {_asked(workload)}",
            f"the largest, {largest.name}, has {gib(largest.usable)} and {largest.compute} "
            "compute slices; take a larger GPU, or whole ones outside of this plan",
        )  # fmt: skip
    return min(
        fitting,
        key=lambda s: (s.size, s.compute, s.extra, s.media if lean else 0, len(s.name)),
    )


def gib(count: int) -> str:
    """Return bytes as a person reads them: ``9.6 GiB``, rounded down."""
    return f"{count * 10 // _GIB / 10:g} GiB"


def _asked(workload: Workload) -> str:
    parts = [f"{format_bytes(workload.memory)} of memory"] if workload.memory else []
    parts += [f"{workload.compute} compute slices"] if workload.compute > 1 else []
    parts += ["the media engines"] if workload.media else []
    return " and ".join(parts)


def _named(workload: Workload, name: str, card: MigCard, catalog: Catalog) -> MigSlice:
    if name not in card.by_name:
        raise _not_offered(workload, name, card, catalog)
    one = card.by_name[name]
    short = one.usable < workload.memory or one.compute < workload.compute
    if short or (workload.media and not one.extra):
        raise PlacementError(
            "mig-profile-small",
            f"{workload.name}: {name} of {card.gpu} does not have {_asked(workload)}",
            f"it has {gib(one.usable)} and {one.compute} compute slices; leave profile out to "
            "get the smallest that fits",
        )  # fmt: skip
    return one


def _not_offered(workload: Workload, name: str, card: MigCard, catalog: Catalog) -> PlacementError:
    own = ", ".join(card.by_name)
    offering = [gpu.name for gpu in catalog.mig_profiles.get(name, ())]
    if not offering:
        return PlacementError(
            "mig-unknown", f"{workload.name}: no GPU has the MIG profile {name}",
            did_you_mean(name, [*card.by_name, *catalog.mig_profiles],
                         otherwise=f"{card.gpu} offers {own}"),
        )  # fmt: skip
    same = _same_slice(name, offering, card)
    hint = f"did you mean {same!r}, the same slice on {card.gpu}? " if same else ""
    return PlacementError(
        "mig-not-on-gpu", f"{workload.name}: {card.gpu} does not offer {name}",
        f"{hint}{name} is offered by {', '.join(offering)}; {card.gpu} offers {own}",
    )  # fmt: skip


def _same_slice(name: str, offering: list[str], card: MigCard) -> str | None:
    known = mig_cards()
    kinds = {known[gpu].by_name[name].kind for gpu in offering if gpu in known}
    return next((one.name for one in card.slices if one.kind in kinds), None)


def _workload(item: object, number: int) -> Workload:
    where = f"workload {number}"
    if not isinstance(item, Mapping):
        raise SpecError("workloads-form", f"{where} is not a mapping: {item!r}", _EXAMPLE)
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        raise SpecError("workloads-name", f"{where} has no name", "add name: …")
    for key in item:
        if key not in _KEYS:
            raise SpecError(
                "workloads-key", f"{name}: {key!r} is not a key of a workload",
                did_you_mean(str(key), _KEYS, otherwise=f"there are {', '.join(_KEYS)}"),
            )  # fmt: skip
    profile = item.get("profile")
    if profile is None and "memory" not in item:
        raise SpecError(
            "workloads-memory", f"{name} says neither memory nor profile",
            "add memory: 8Gi, the peak of GPU memory, or profile: 1g.10gb",
        )  # fmt: skip
    if profile is not None and not isinstance(profile, str):
        raise SpecError(
            "workloads-profile", f"{name}: profile {profile!r} is not text",
            "write profile: 1g.10gb",
        )  # fmt: skip
    return Workload(
        name=name.strip(),
        memory=_memory(item["memory"], name) if "memory" in item else 0,
        compute=_whole(item, "compute", name, 7),
        count=_whole(item, "count", name, _MOST),
        media=_flag(item, name),
        profile=profile.strip().lower().removeprefix("mig-") if profile is not None else None,
    )


def _memory(value: str | int, name: str) -> int:
    found = parse_bytes(value, f"{name}: memory")
    if found < _LEAST:
        raise SpecError(
            "workloads-memory", f"{name}: memory {value!r} is only {found} bytes",
            f'write it with a unit, such as "{value}Gi"',
        )  # fmt: skip
    return found


def _whole(item: Mapping[str, object], key: str, name: str, most: int) -> int:
    value = item.get(key, 1)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        what = "compute slices of a card" if key == "compute" else "jobs"
        raise SpecError(
            f"workloads-{key}", f"{name}: {key} {value!r} is not a number of {what}",
            f"write a whole number from 1 to {most}",
        )  # fmt: skip
    return value


def _flag(item: Mapping[str, object], name: str) -> bool:
    value = item.get("media", False)
    if not isinstance(value, bool):
        raise SpecError(
            "workloads-media", f"{name}: media {value!r} is neither true nor false",
            "write media: true for a job that needs the engines of a +me profile",
        )  # fmt: skip
    return value
