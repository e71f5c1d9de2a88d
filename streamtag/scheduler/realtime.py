"""Whether a producer is live: one that pushes faster than time goes is a file, and can wait."""

from __future__ import annotations

FASTER = 1.1  # a clock that is faster than this is no sound card's


class RealtimeDetector:
    """How far a producer is ahead of the clock. Time in which it was made to wait tells nothing, and does not count.

    After a break in its connection a live producer sends at once what it has kept: being behind by `slack_s` it may
    catch up so much. One that was too fast is live again after a while at the clock's pace.
    """

    def __init__(self, max_lead_s: float, slack_s: float, now: float, behind_s: float = 0.0) -> None:
        """max_lead_s: from where on it is not live. behind_s: what it may catch up at once."""
        self._limit, self._slack = max_lead_s, slack_s
        self._ahead = -min(behind_s, slack_s)
        self._since = now
        self._waiting = False

    @property
    def live(self) -> bool:
        return self._ahead <= self._limit

    def pushed(self, seconds: float, now: float) -> None:
        """So much sound came."""
        if not self._waiting:
            self._ahead = max(-self._slack, self._ahead - FASTER * max(0.0, now - self._since))
        self._since = now
        self._ahead = min(2 * self._limit, self._ahead + seconds)

    def wait(self) -> None:
        """It is asked to wait from now on."""
        self._waiting = True

    def go_on(self, now: float) -> None:
        """It may push again."""
        if self._waiting:
            self._waiting, self._since = False, now
