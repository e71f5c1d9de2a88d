"""A microphone that gives nothing but zeros is muted, or not the one that was meant."""

from __future__ import annotations

from streamtag.audio.source import SourceNotice

LONG_S = 30.0  # s; a real input never gives exact zeros for so long


class SilenceMonitor:
    """Told of every block; says once when it has lasted too long, and once when sound is back."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self._long_s = long_s
        self._silent_s = 0.0
        self._told = False

    def feed(self, peak: float, seconds: float) -> SourceNotice | None:
        """peak: the largest absolute value of a block of so many seconds."""
        if peak > 0:
            self._silent_s = 0.0
            if self._told:
                self._told = False
                return SourceNotice("there is sound again", trouble=False)
            return None
        self._silent_s += seconds
        if self._told or self._silent_s < self._long_s:
            return None
        self._told = True
        return SourceNotice(f"nothing but digital silence for {self._long_s:g} s: muted, or the wrong input?")
