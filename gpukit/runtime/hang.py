"""When silence is a hang: a limit from the run's own pace, generous on purpose.

A false alarm costs a healthy run an attempt; a late one costs a wedged GPU some minutes. Without a
limit of the person's own, nothing is said before ten steps are known (compilation and the first
data are slow), and evaluation, which takes no steps, is judged by the longest silence so far.
Pure, standard library only.
"""

from __future__ import annotations

__all__ = ["LEAST_LIMIT", "Pulse"]

LEAST_LIMIT = 1800.0
"""No default limit is shorter. PyTorch's process groups give up a collective after 10 minutes."""

_STEPS = 10
_TIMES_STEP = 20
_TIMES_SILENCE = 5


class Pulse:
    """Signs of life of an attempt: steps, and heartbeats between them; times are monotonic seconds.

    Args:
        fixed: the person's ``hang_timeout``; None takes the limit from what was seen.
        longest: the longest silence that earlier attempts of the run came out of.
        hangs: how many earlier attempts ended as hangs; each doubles the default limit, so that
            a job with a phase that is longer than any limit here is stopped by it once at most.
    """

    def __init__(self, fixed: float | None = None, *, longest: float = 0.0, hangs: int = 0) -> None:
        self.longest = longest
        self._fixed = fixed
        self._factor = 2**hangs
        self._base = self._steps = 0
        self._first: float | None = None
        self._newest_step = 0.0
        self._last: float | None = None

    def step(self, now: float, steps: int) -> None:
        """Take note that so many steps have been made by ``now``."""
        if self._first is None:
            self._first, self._base = now, steps
        self._steps = steps - self._base
        self._newest_step = now
        self._alive(now)

    def alive(self, now: float) -> None:
        """Take note of a sign of life that is no step; before the first step it says nothing."""
        if self._last is not None:
            self._alive(now)

    @property
    def limit(self) -> float | None:
        """Seconds of silence that are a hang; None while that cannot be said."""
        if self._first is None:
            return None
        if self._fixed is not None:
            return self._fixed
        if self._steps < _STEPS:
            return None
        mean = (self._newest_step - self._first) / self._steps
        usual = max(_TIMES_STEP * mean, _TIMES_SILENCE * self.longest, LEAST_LIMIT)
        return float(usual * self._factor)

    def silence(self, now: float) -> float:
        """Return the seconds since the last sign of life; 0 before the first step."""
        return 0.0 if self._last is None else now - self._last

    def hangs(self, now: float) -> bool:
        """Tell whether the attempt has been silent for longer than the limit."""
        limit = self.limit
        return limit is not None and self.silence(now) > limit

    def _alive(self, now: float) -> None:
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now
