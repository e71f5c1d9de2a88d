"""How many messages one connection may send."""

from __future__ import annotations

RATE = 1000.0  # messages a second; a browser's smallest blocks of 128 samples are 375
BURST = 2000.0  # messages that may come at once


class TokenBucket:
    """Each message has its price, however short it is: who sends very many has to wait, and nobody else."""

    def __init__(self, now: float) -> None:
        """now: s, by any clock."""
        self._left = BURST
        self._since = now

    def take(self, now: float) -> float:
        """One message -> for how long no more should be read, s; 0 mostly."""
        self._left = min(BURST, self._left + (now - self._since) * RATE) - 1
        self._since = now
        return 0.0 if self._left >= 0 else (BURST / 2 - self._left) / RATE
