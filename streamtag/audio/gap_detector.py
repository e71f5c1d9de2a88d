"""Finds out how much a device lost when it does not say, so that the stream's time stays true.

PortAudio's flag tells that sound was lost, not how much. And some losses are not even flagged: a program that was
stopped for 20 s got from PulseAudio what had been played in the first 12 of them, and then the present, with no word
of the 6.6 s between. What does tell is the clock: a device makes `rate` samples a second, so blocks that come ever
later than they should and never catch up have a hole before them. So it was found, in its place and to 1 ms (measured
against the position in the song that was played). PortAudio's own time stamps do not help: of another such loss they
told half, and when PulseAudio changed its latency they jumped by 0.3 to 0.6 s with nothing lost.
"""

from __future__ import annotations

from dataclasses import replace

from streamtag.audio.ring import Block

LATE_S = 0.1  # s; later than this a block is suspicious, and a delay that stays above it is a loss
CLOSE_S = 0.02  # s; as close to the usual delay as this, everything is there
SETTLE_S = 0.25  # s without catching up further, then what is still missing is lost
JITTER_S = 0.002  # s; less than this is no catching up
HOLD_S = 2.0  # s; most that blocks are held, even if a device catches up so slowly
MEMORY_S = 1.0  # s; the usual delay is the smallest of the last one or two of these


class GapDetector:
    """Blocks go in as they came, and come out with their losses told. Owned by the thread that takes.

    Blocks behind a suspicious place are held until it is clear what it was: at most a few tenths of a second after
    the device keeps time again, and no longer than it takes a burst of blocks to bring what was late.

    losses: how many were found.
    """

    def __init__(self, rate: int) -> None:
        """rate: Hz."""
        self.losses = 0
        self._rate = rate
        self._came = 0  # samples, those that were lost included
        self._usual: list[float] = []  # the smallest delay of the last MEMORY_S, and of that before it
        self._since = 0.0  # when the last began
        self._held: list[Block] = []
        self._delays: list[float] = []  # of the blocks that are held
        self._flagged = 0  # how many of these were flagged
        self._improved = 0.0  # when the smallest of the delays was found

    def feed(self, block: Block) -> list[Block]:
        """-> blocks that are clear now, in order."""
        self._came += block.lost + len(block.samples)
        delay = block.arrived - self._came / self._rate  # plus something that stays the same
        if not self._usual:
            self._usual, self._since = [delay], block.arrived
        if not self._held and not block.flagged and delay < min(self._usual) + LATE_S:
            self._remember(delay, block.arrived)
            return [block]
        if not self._held or delay < min(self._delays) - JITTER_S:
            self._improved = block.arrived
        self._held.append(block)
        self._delays.append(delay)
        self._flagged += block.flagged
        caught_up = not self._flagged and delay <= min(self._usual) + CLOSE_S
        if caught_up or block.arrived - self._improved >= SETTLE_S:
            return self.flush()
        if block.arrived - self._held[0].arrived >= HOLD_S:
            held, self._held, self._delays = self._held, [], []
            return held
        return []

    def flush(self) -> list[Block]:
        """What is held, with its loss as far as it is known."""
        if not self._held:
            return []
        held, delays, flagged = self._held, self._delays, self._flagged
        self._held, self._delays, self._flagged = [], [], 0
        missing = min(delays) - min(self._usual)
        enough = JITTER_S if flagged else LATE_S
        lost = round(missing * self._rate) if missing > enough else 0
        if lost:
            first = next(i for i, delay in enumerate(delays) if delay <= min(delays) + CLOSE_S)
            if flagged:
                first = next(i for i, block in enumerate(held) if block.flagged)
            held[first] = replace(held[first], lost=held[first].lost + lost)
            self._came += lost
        self.losses += max(flagged, int(lost > 0))
        self._usual, self._since = [min(delays) - lost / self._rate], held[-1].arrived
        return held

    def _remember(self, delay: float, now: float) -> None:
        if now - self._since >= MEMORY_S:
            self._usual, self._since = [delay, self._usual[0]], now
        else:
            self._usual[0] = min(self._usual[0], delay)
