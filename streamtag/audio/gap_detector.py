"""Measures how much audio a device lost without saying so, so that the time of the stream stays true.

PortAudio's flag reports that audio was lost, not how much. Some losses are not even flagged: a program that was
stopped for 20 s got from PulseAudio what had been played in the first 12 of them, and then the present, without a
word about the 6.6 s between. The clock does show it: a device makes `rate` samples a second, so blocks that arrive
ever later than they should and never catch up have a gap before them. It is found in its place and to 1 ms (measured
against the position in the song that was played). PortAudio's own time stamps do not help: of another such loss they
showed half, and when PulseAudio changed its latency they jumped by 0.3 to 0.6 s with nothing lost.
"""

from __future__ import annotations

from dataclasses import replace

from streamtag.audio.ring import Block

MIN_LATE_S = 0.1  # later than this a block is suspicious, and a delay that stays above it is a loss
MAX_CAUGHT_UP_S = 0.02  # as close to the usual delay as this, nothing is missing
SETTLE_TIME_S = 0.25  # without catching up further, then what is still missing is lost
MAX_JITTER_S = 0.002  # less than this is not catching up
MAX_HOLD_S = 2.0  # how long blocks are held, even if a device catches up so slowly
USUAL_DELAY_S = 1.0  # the usual delay is the smallest of the last one or two of these intervals


class GapDetector:
    """Passes blocks on with their losses measured. Owned by the thread that reads.

    Blocks behind a suspicious place are held until it is clear what it was: at most a few tenths of a second after
    the device keeps time again, and no longer than it takes a burst of blocks to bring what was late.

    losses: how many were found.
    """

    def __init__(self, rate: int) -> None:
        """rate: Hz."""
        self.losses = 0
        self._rate = rate
        self._position = 0  # samples, lost ones included
        self._usual: list[float] = []  # the smallest delay of the current interval, and of the one before
        self._usual_since = 0.0  # when the current interval began
        self._held: list[Block] = []
        self._delays: list[float] = []  # of the held blocks
        self._flagged = 0  # how many of these were flagged
        self._improved_at = 0.0  # when the smallest of these delays was found

    def feed(self, block: Block) -> list[Block]:
        """Return the blocks that are clear after the next one, in order."""
        self._position += block.lost + len(block.samples)
        delay = block.arrival_time - self._position / self._rate  # plus a constant
        if not self._usual:
            self._usual, self._usual_since = [delay], block.arrival_time
        if not self._held and not block.flagged and delay < min(self._usual) + MIN_LATE_S:
            self._note_delay(delay, block.arrival_time)
            return [block]
        if not self._held or delay < min(self._delays) - MAX_JITTER_S:
            self._improved_at = block.arrival_time
        self._held.append(block)
        self._delays.append(delay)
        self._flagged += block.flagged
        caught_up = not self._flagged and delay <= min(self._usual) + MAX_CAUGHT_UP_S
        if caught_up or block.arrival_time - self._improved_at >= SETTLE_TIME_S:
            return self.flush()
        if block.arrival_time - self._held[0].arrival_time >= MAX_HOLD_S:
            held, self._held, self._delays = self._held, [], []
            self.losses += self._flagged
            self._flagged = 0
            return held
        return []

    def flush(self) -> list[Block]:
        """Return the held blocks, with their loss as far as it is known."""
        if not self._held:
            return []
        held, delays, flagged = self._held, self._delays, self._flagged
        self._held, self._delays, self._flagged = [], [], 0
        missing = min(delays) - min(self._usual)
        enough = MAX_JITTER_S if flagged else MIN_LATE_S
        lost = round(missing * self._rate) if missing > enough else 0
        if lost:
            first = next(i for i, delay in enumerate(delays) if delay <= min(delays) + MAX_CAUGHT_UP_S)
            if flagged:
                first = next(i for i, block in enumerate(held) if block.flagged)
            held[first] = replace(held[first], lost=held[first].lost + lost)
            self._position += lost
        self.losses += max(flagged, int(lost > 0))
        self._usual, self._usual_since = [min(delays) - lost / self._rate], held[-1].arrival_time
        return held

    def _note_delay(self, delay: float, now: float) -> None:
        if now - self._usual_since >= USUAL_DELAY_S:
            self._usual, self._usual_since = [delay, self._usual[0]], now
        else:
            self._usual[0] = min(self._usual[0], delay)
