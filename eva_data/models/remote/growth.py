"""Searches for the number of requests in flight at which a server is fastest, if the settings say `auto`."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

START, MOST = 8, 1024
"""The first bound, and the largest bound."""

FACTOR = 1.5

GAIN = 1.15
"""After growth by half, the server must be faster by this factor, or the growth was in vain."""

VAIN = 2
"""Number of growths in vain, in a row, that ends the search."""

FEWEST = 16
"""A bound is measured by at least so many answers, or by twice the bound if that is more."""


@dataclass
class Growth:
    """The search for one server's bound.

    A server's speed is the bound divided by the median time to an answer (Little's law). A few slow answers do not
    shift the median. Only requests that were sent under the present bound, while it was full, count.
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
        """Count a request, sent at `started`, that is answered. `full` says if the bound is reached."""
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
