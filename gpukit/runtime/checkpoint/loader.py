"""Data loaders that go on at a batch, exactly: same batches, same order, same randomness.

Three ways, from the best that a loader allows:

- a plain ``DataLoader`` over a map-style dataset: the sampler is replayed (indices only), nothing
  is loaded twice. Worker processes draw from generators that would have to be replayed too, so
  each batch is loaded under a seed of its own, derived from the loop's seed and its number.
- a loader with ``state_dict`` and ``load_state_dict`` (torchdata's StatefulDataLoader): its own.
- anything else that can be iterated: the batches before the position are loaded and dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from . import rng

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

__all__ = ["Source", "source_of"]


class Source(Protocol):
    """One pass over a loader that can begin at a batch."""

    def state(self) -> Any:
        """Return what this pass needs, beside the position, to go on later."""

    def iterate(
        self, skip: int | None, state: Any, on_position: Callable[[], None]
    ) -> Iterator[Any]:
        """Yield the batches from number ``skip`` on.

        Args:
            skip: batches to pass over where the pass was interrupted; None for a new one.
            state: what :meth:`state` returned when the checkpoint was made; None without one.
            on_position: called in this process once the position is reached, before the first
                batch is loaded; it restores the random number generators.
        """


def source_of(loader: Any) -> Source:
    """Return the best way to resume ``loader``."""
    torch_data = sys.modules.get("torch.utils.data")
    if torch_data is not None and type(loader) is torch_data.DataLoader:
        plain = loader.batch_sampler is not None
        if plain and not isinstance(loader.dataset, torch_data.IterableDataset):
            return _MapStyle(loader)
    # Accelerate's loaders always have the methods, and say so where they would fail
    works = getattr(loader, "use_stateful_dataloader", True)
    if works and hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict"):
        return _Stateful(loader)
    return _Replayed(loader)


class _Replayed:
    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader

    def state(self) -> Any:
        return None

    def iterate(
        self, skip: int | None, state: Any, on_position: Callable[[], None]
    ) -> Iterator[Any]:
        iterator = iter(self._loader)
        for _ in range(skip or 0):
            if next(iterator, self) is self:
                break
        on_position()
        yield from iterator


class _Stateful:
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def state(self) -> Any:
        return self._loader.state_dict()

    def iterate(
        self, skip: int | None, state: Any, on_position: Callable[[], None]
    ) -> Iterator[Any]:
        if skip is not None and state is not None:
            self._loader.load_state_dict(state)
        iterator = iter(self._loader)
        on_position()
        yield from iterator


class _MapStyle:
    """A DataLoader over a map-style dataset, rebuilt around a sampler that can begin anywhere."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._sampler = _ResumableSampler(loader.batch_sampler, seeded=loader.num_workers > 0)
        self._inner: DataLoader[Any] | None = None
        self._begin = self._generator_states()

    def state(self) -> Any:
        return {"begin": self._begin, "now": self._generator_states()}

    def iterate(
        self, skip: int | None, state: Any, on_position: Callable[[], None]
    ) -> Iterator[Any]:
        def reached() -> None:
            # With workers the sampler ran ahead of the position, and replaying it says where to.
            if skip is not None and state is not None and self._loader.num_workers == 0:
                self._set_generators(state["now"])
            on_position()

        if state is not None:
            self._set_generators(state["now"] if skip is None else state["begin"])
        self._begin = self._generator_states()
        self._sampler.start(skip or 0, reached)
        if self._inner is None:
            self._inner = self._rebuilt()
        yield from self._inner

    def _generators(self) -> list[torch.Generator]:
        import torch

        batch_sampler = self._loader.batch_sampler
        owners = (self._loader, batch_sampler, getattr(batch_sampler, "sampler", None))
        found = (getattr(owner, "generator", None) for owner in owners)
        unique = {id(g): g for g in found if isinstance(g, torch.Generator)}
        return list(unique.values())

    def _generator_states(self) -> list[torch.Tensor]:
        return [g.get_state() for g in self._generators()]

    def _set_generators(self, states: list[torch.Tensor]) -> None:
        for generator, saved in zip(self._generators(), states, strict=True):
            generator.set_state(saved)

    def _rebuilt(self) -> DataLoader[Any]:
        from torch.utils.data import DataLoader

        old: Any = self._loader
        dataset: Any = _SeededDataset(old.dataset) if old.num_workers > 0 else old.dataset
        options = {
            name: getattr(old, name)
            for name in (
                "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn",
                "multiprocessing_context", "generator", "prefetch_factor", "persistent_workers",
                "pin_memory_device", "in_order",
            )
            if hasattr(old, name)
        }  # fmt: skip
        if not options.get("pin_memory_device"):
            options.pop("pin_memory_device", None)
        return DataLoader[Any](dataset, batch_sampler=self._sampler, **options)


class _ResumableSampler:
    """A batch sampler that passes over the first batches, and numbers the others."""

    def __init__(self, inner: Any, *, seeded: bool) -> None:
        self._inner = inner
        self._seeded = seeded
        self._skip = 0
        self._on_position: Callable[[], None] | None = None

    def start(self, skip: int, on_position: Callable[[], None]) -> None:
        self._skip = skip
        self._on_position = on_position

    def reach(self) -> None:
        """Say once that the position is reached."""
        callback, self._on_position = self._on_position, None
        if callback is not None:
            callback()

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Any]:
        base = _loop_seed() if self._seeded else 0
        draws = _own_draws(self._inner)
        for _ in range(self._skip):
            next(draws, None)
        self.reach()
        for number, indices in enumerate(draws, start=self._skip):
            yield _Seeded(indices, _batch_seed(base, number)) if self._seeded else indices


def _own_draws(sampler: Any) -> Iterator[Any]:
    """Iterate a sampler; one that is not torch's own draws from generators of its own.

    torch's samplers draw once, when they begin. Of any other one nothing is known: if its draws
    were mixed with those of training, they could not be replayed without training.
    """
    inner = getattr(sampler, "sampler", None)
    known = all(type(s).__module__.startswith("torch.utils.data") for s in (sampler, inner) if s)
    iterator = iter(sampler)
    if known:
        yield from iterator
        return
    own = rng.capture(gpus=False)
    while True:
        outer = rng.capture(gpus=False)
        rng.restore(own)
        item = next(iterator, iterator)
        own = rng.capture(gpus=False)
        rng.restore(outer)
        if item is iterator:
            return
        yield item


def _loop_seed() -> int:
    """Return the seed that a DataLoader would draw now, without drawing it."""
    import torch

    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


def _batch_seed(base: int, number: int) -> int:
    digest = hashlib.blake2b(f"{base}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class _Seeded(list[Any]):
    """The indices of one batch, with the seed under which it is loaded."""

    def __init__(self, indices: Iterable[Any], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __reduce__(self) -> tuple[Any, ...]:
        return _Seeded, (list(self), self.seed)


class _SeededDataset:
    """A dataset in a worker process, whose random numbers depend on the batch alone."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        return self._dataset[index]

    def __getitems__(self, indices: _Seeded) -> Any:
        _seed_all(indices.seed)
        batched = getattr(self._dataset, "__getitems__", None)
        if batched is not None:
            return batched(list(indices))
        return [self._dataset[i] for i in indices]

    def __getattr__(self, name: str) -> Any:
        if name == "_dataset":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self._dataset, name)


def _seed_all(seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    with contextlib.suppress(ImportError):
        import numpy

        numpy.random.seed(seed % 2**32)
