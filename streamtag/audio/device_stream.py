"""One input that is open: its stream, the ring it fills, and the way of its blocks to the stream."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.devices import InputDevice, SoundSystem
from streamtag.audio.gap_detector import GapDetector
from streamtag.audio.level_meter import SilenceMonitor
from streamtag.audio.resample import AudioTap, CaptureResampler, peak_of
from streamtag.audio.ring import Block, Ring
from streamtag.audio.source import CaptureEvent
from streamtag.errors import SourceError
from streamtag.text import plural

BLOCK_S = 0.01  # s of sound a callback
RING_S = 10.0  # s of sound that wait for a taker that is held up
MOST_S = 1.0  # s; most that is taken from the ring at once


class DeviceStream:
    """Lives from the opening of a device to its end. Owned by the thread that takes, but for the callback."""

    def __init__(
        self,
        system: SoundSystem,
        device: InputDevice,
        channel: int | None,
        channels: int,
        pieces: deque[CaptureEvent],
        tap: AudioTap | None,
    ) -> None:
        """channel: the one to hear, from 1; None: the mean of up to `channels`. pieces: where the sound goes.

        Raises SourceError if it cannot be opened.
        """
        if channel is not None and channel > device.channels:
            raise SourceError(f"input {device.name}: has {device.channels} channels, so no channel {channel}")
        wide = min(device.channels, channels) if channel is None else channel
        frames = max(1, round(BLOCK_S * device.rate))
        self.arrived: float | None = None  # when the newest sample came
        self.intake = CaptureResampler(device.rate, pieces, tap, None if channel is None else channel - 1)
        self._device = device
        self._pieces = pieces
        self._ring = Ring(round(RING_S / BLOCK_S), frames, wide)
        self._continuity = GapDetector(device.rate)
        self._silence = SilenceMonitor()
        self._overruns = 0
        of = f"{plural(wide, 'channel')}" if channel is None else f"channel {channel}"
        self.about = f"{device.name}, {device.rate} Hz, {of}"
        self._stream = system.open(device, wide, frames, self._hear)

    @property
    def losses(self) -> int:
        """How often sound was lost on the way."""
        return self._overruns + self._continuity.losses

    @property
    def latency_s(self) -> float:
        return self._stream.latency_s

    @property
    def active(self) -> bool:
        return self._stream.active or len(self._ring) > 0

    @property
    def begins(self) -> float | None:
        """When the oldest sample that waits came, on time.monotonic(); None if none waits."""
        return None if (block := self._ring.peek()) is None else block.arrived - len(block.samples) / self._device.rate

    def drain(self) -> bool:
        """Takes what waits in the ring. -> whether there was anything."""
        clear: list[Block] = []
        seconds = 0.0
        while seconds < MOST_S and (block := self._ring.read()) is not None:
            self._overruns += block.lost > 0
            self.arrived = block.arrived
            seconds += len(block.samples) / self._device.rate
            clear += self._continuity.feed(block)
        self._pass_on(clear)
        return seconds > 0

    def end(self) -> None:
        """Passes on all that has come. The stream is not closed by it, since that may take its time."""
        while self.drain():
            pass
        self._pass_on(self._continuity.flush())
        self.intake.flush()

    def close(self) -> None:
        self._stream.close()

    def _hear(self, indata: NDArray[np.float32], flagged: bool) -> None:
        """PortAudio's thread: no more than this."""
        self._ring.write(indata, 0, flagged)

    def _pass_on(self, blocks: list[Block]) -> None:
        """As few pieces as the losses allow, since each costs its taker something."""
        start = 0
        for end in range(1, len(blocks) + 1):
            if end == len(blocks) or blocks[end].lost:
                together = blocks[start:end]
                samples = np.concatenate([block.samples for block in together])
                self.intake.take(Block(samples, together[-1].arrived, together[0].lost))
                notice = self._silence.feed(peak_of(samples), len(samples) / self._device.rate)
                if notice is not None:
                    self._pieces.append(notice)
                start = end
