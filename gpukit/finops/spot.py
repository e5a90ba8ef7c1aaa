"""What interruptions add: billed hours per useful hour, the best interval, where spot pays no more.

MTBI is the mean time between interruptions. AWS's advisor bands are shares of instances
interrupted in a month and not a hazard (below 5 % would be an MTBI above 14,000 h, when published
traces have 0.7 to 10 h), so MTBI is an input with a range. Hours and money are Decimal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from gpukit.errors import UsageError

__all__ = [
    "Hopeless", "Rework", "best_interval", "break_even_mtbi", "judge", "mtbi_of_rate",
    "overhead", "saving", "young_interval",
]  # fmt: skip

_LARGEST = Decimal(200)  # exponent; no need to go further
_NEVER = Decimal(1000)  # billed hours per useful one, from which on a job is said to never finish
_STEPS = 200
_FINE = Decimal("1e-9")


@dataclass(frozen=True)
class Rework:
    """How a job meets interruptions; hours.

    Attributes:
        mtbi: mean time between interruptions.
        interval: useful hours between two checkpoints; without checkpoints, the whole job.
        save: a checkpoint takes this long.
        restart: from an interruption to useful work again, billed.
    """

    mtbi: Decimal
    interval: Decimal
    save: Decimal = Decimal(0)
    restart: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.mtbi <= 0 or self.interval <= 0 or self.save < 0 or self.restart < 0:
            raise UsageError(
                "rework-range",
                f"mtbi={self.mtbi} h, interval={self.interval} h, save={self.save} h and "
                f"restart={self.restart} h cannot be",
                "times between interruptions and checkpoints are positive, the others not negative",
            )


def overhead(rework: Rework) -> Decimal | None:
    """Return E, the billed hours per useful hour; None above a thousand: it never finishes.

    ``E = (exp(λ(τ+δ)) − 1)·(1/λ + R)/τ`` with λ = 1/MTBI, τ the interval, δ the save and R the
    restart: exact for interruptions at a constant rate outside of restarts (Daly, 2006).
    """
    exponent = (rework.interval + rework.save) / rework.mtbi
    if exponent > _LARGEST:
        return None
    found = (exponent.exp() - 1) * (rework.mtbi + rework.restart) / rework.interval
    return found if found <= _NEVER else None


def young_interval(mtbi: Decimal, save: Decimal) -> Decimal:
    """Return √(2·save·MTBI), the usual first approximation of the best interval (Young, 1974)."""
    return (2 * save * mtbi).sqrt()


def best_interval(mtbi: Decimal, save: Decimal) -> Decimal:
    """Return the interval with the least overhead, in hours.

    The root x = τ/MTBI of ``1 − x = exp(−x − save/MTBI)``; a save that costs nothing would be
    made all the time, so a second is the least that one is taken for.
    """
    cost = max(save, Decimal(1) / 3600) / mtbi
    return mtbi * _root(lambda x: (-x - cost).exp() - (1 - x), Decimal(0), Decimal(1))


def break_even_mtbi(
    ratio: Decimal, *, save: Decimal, restart: Decimal, interval: Decimal | None = None
) -> Decimal | None:
    """Return the MTBI below which spot costs more than on-demand; None if it always does.

    Args:
        ratio: on-demand price over spot price; the overhead that spot can bear.
        save: hours of a checkpoint.
        restart: hours of a restart.
        interval: hours between checkpoints; by default the best one for each MTBI.
    """
    if ratio <= 1:
        return None

    def excess(log_mtbi: Decimal) -> Decimal:
        mtbi = log_mtbi.exp()
        tau = interval or best_interval(mtbi, save)
        found = overhead(Rework(mtbi, tau, save, restart))
        return Decimal(-1) if found is None else ratio - found

    low, high = Decimal(-9), Decimal(14)  # half a second to a century
    if excess(high) < 0:
        return None
    return Decimal(0) if excess(low) > 0 else _root(excess, low, high, steps=60).exp()


def mtbi_of_rate(fraction: Decimal, hours: int = 720) -> Decimal:
    """Return the MTBI of which a share of machines would be interrupted within ``hours``.

    ``−hours / ln(1 − fraction)``. What AWS's advisor bands would mean if they were a hazard.

    Raises:
        UsageError: the share is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(
            "interruption-rate", f"{fraction} is not a share of interrupted machines",
            "write a number between 0 and 1, for example 0.05",
        )  # fmt: skip
    return -hours / (1 - fraction).ln()


def saving(effective: Decimal, on_demand: Decimal) -> Decimal:
    """Return the part of the on-demand price that is saved; negative where spot is dearer."""
    return 1 - effective / on_demand


@dataclass(frozen=True)
class Hopeless:
    """Why a job is not to run on spot, with the numbers."""

    id: str
    reason: str
    hint: str


def judge(
    hours: Decimal, rework: Rework, *, saves: bool, on_demand: Decimal | None, spot: Decimal | None
) -> Hopeless | None:
    """Return why a job has no hope on spot; None where it has.

    Args:
        hours: useful hours of the job.
        rework: how it meets interruptions at the MTBI that is judged.
        saves: it saves checkpoints.
        on_demand: price per hour.
        spot: price per hour.
    """
    found = overhead(rework)
    times = "never finishes" if found is None else f"bills {found:.2f} hours for each useful one"
    if not saves and hours > rework.mtbi / 2:
        return Hopeless(
            "spot-without-checkpoint",
            f"{_time(hours)} without a checkpoint at one interruption per {_time(rework.mtbi)}: "
            f"it {times}",
            "save checkpoints (gpukit.Checkpointer, checkpoint_every), or run on demand",
        )
    if on_demand is None or spot is None:
        return None if found is not None else _never(rework)
    if found is None or spot * found >= on_demand:
        return Hopeless(
            "spot-dearer",
            f"at one interruption per {_time(rework.mtbi)} it {times}: "
            + ("no price makes up for that" if found is None else
               f"${spot * found:.2f} per useful hour on spot, ${on_demand:.2f} on demand"),
            "run on demand, or checkpoint faster and more often",
        )  # fmt: skip
    return None


def _never(rework: Rework) -> Hopeless:
    return Hopeless(
        "spot-never-finishes",
        f"{_time(rework.interval)} between checkpoints at one interruption per "
        f"{_time(rework.mtbi)} never finishes",
        "checkpoint more often, or run on demand",
    )


def _time(hours: Decimal) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def _root(
    function: Callable[[Decimal], Decimal], low: Decimal, high: Decimal, steps: int = _STEPS
) -> Decimal:
    """Return where a function goes from negative to positive, by bisection."""
    for _ in range(steps):
        middle = (low + high) / 2
        if high - low < _FINE * max(abs(middle), _FINE):
            break
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
