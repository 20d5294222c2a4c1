"""How many requests a server is sent at once where nobody said it: the search for the bound that makes it fastest."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

START, MOST = 8, 1024
"""The bound begins with the first and never goes beyond the second."""

FACTOR = 1.5

GAIN = 1.15
"""Half as many requests again must make the server faster by this factor, or the growth was in vain."""

VAIN = 2
"""Growths in vain, in a row, that end the search."""

FEWEST = 16
"""Answers by which a bound is judged, at least; twice the bound if that is more."""


@dataclass
class Growth:
    """The search for one server's bound.

    A server's speed is the bound over the median time to an answer (Little's law), which a few slow answers do not
    shift. Only requests that were sent under the present bound, while it was full, tell of it.
    """

    limit: float = START
    settled: bool = False
    """Whether the search is over; `limit` is then the last bound that made the server faster."""
    _since: float = 0.0
    _seconds: list[float] = field(default_factory=list)
    _speed: float = 0.0
    _best: float = START
    _vain: int = 0

    def answered(self, started: float, now: float, *, full: bool) -> None:
        """A request that was sent at `started` is answered; `full`: as many are under way as may be."""
        if self.settled or started < self._since:
            return
        if not full:
            self._seconds.clear()
            return
        self._seconds.append(now - started)
        if len(self._seconds) < max(FEWEST, 2 * self.limit):
            return
        speed = self.limit / max(median(self._seconds), 1e-6)
        if speed >= GAIN * self._speed:
            self._speed, self._best, self._vain = speed, self.limit, 0
        else:
            self._vain += 1
        self.settled = self._vain == VAIN or self.limit >= MOST
        self.limit = self._best if self.settled else min(MOST, self.limit * FACTOR)
        self._since = now
        self._seconds.clear()
