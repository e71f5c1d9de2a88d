"""A sound input of this machine, which may be unplugged and come back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.devices import InputDevice, PortAudio, SoundSystem, find_input
from streamtag.audio.gap_detector import GapDetector
from streamtag.audio.level_meter import SilenceMonitor
from streamtag.audio.reconnecting import ReconnectingSource
from streamtag.audio.resample import MAX_TAP_SILENCE_S, SAMPLE_RATE, AudioTap, CaptureResampler
from streamtag.audio.ring import Block, Ring
from streamtag.audio.source import AudioGap, CaptureEvent
from streamtag.audio.threaded import FIRST_DELAY_S
from streamtag.errors import SourceError, SpecError
from streamtag.text import plural

MAX_CHANNELS = 2  # that are mixed; sound servers offer 32, of which most are empty
BLOCK_S = 0.01  # of audio in a callback
MAX_READ_S = 1.0  # of audio that is read from the ring at once
POLL_INTERVAL_S = 0.004  # a callback must not take a lock, so it cannot wake the reader
MAX_POLL_S = 0.1  # of waiting that one poll counts for: a process that was stopped meanwhile did not wait


@dataclass(frozen=True)
class MicrophoneLimits:
    """Times in s. start_timeout_s: until the first block of a device; a sink that nobody used before takes 2 s.

    block_timeout_s: without a block, then the device counts as gone. ring_s: of audio that waits for a reader that is
    held up. digital_silence_s: of exact zeros, then a notice; a real input never gives them for so long.
    """

    start_timeout_s: float = 6.0
    block_timeout_s: float = 2.0
    ring_s: float = 10.0
    digital_silence_s: float = 30.0
    first_retry_s: float = FIRST_DELAY_S
    max_tap_silence_s: float = MAX_TAP_SILENCE_S


class DeviceStream:
    """One open device: the callback fills a ring, `read` turns what is in it into events.

    Owned by the thread that reads, but for the callback. arrival_time: of the newest sample that was read, or None.
    """

    def __init__(
        self,
        system: SoundSystem,
        device: InputDevice,
        channel: int | None,
        tap: AudioTap | None,
        limits: MicrophoneLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """channel: the one to use, from 1; None: the mean of up to MAX_CHANNELS. Raises SourceError."""
        if channel is not None and channel > device.channels:
            raise SourceError(f"input {device.name}: has {device.channels} channels, so no channel {channel}")
        channels = min(device.channels, MAX_CHANNELS) if channel is None else channel
        frames = max(1, round(BLOCK_S * device.rate))
        used = plural(channels, "channel") if channel is None else f"channel {channel}"
        self.description = f"{device.name}, {device.rate} Hz, {used}"
        self.arrival_time: float | None = None
        selected = None if channel is None else channel - 1
        self.resampler = CaptureResampler(device.rate, tap, selected, limits.max_tap_silence_s)
        self._device = device
        self._ring = Ring(round(limits.ring_s / BLOCK_S), frames, channels, clock)
        self._gaps = GapDetector(device.rate)
        self._silence = SilenceMonitor(limits.digital_silence_s)
        self._overruns = 0
        self._stream = system.open(device, channels, frames, self._callback)

    @property
    def losses(self) -> int:
        """How often audio was lost on the way."""
        return self._overruns + self._gaps.losses

    @property
    def latency_s(self) -> float:
        return self._stream.latency_s

    @property
    def is_active(self) -> bool:
        return self._stream.is_active or len(self._ring) > 0

    @property
    def first_sample_time(self) -> float | None:
        """When the oldest sample in the ring was recorded, on time.monotonic()."""
        block = self._ring.peek()
        return None if block is None else block.arrival_time - len(block.samples) / self._device.rate

    def read(self) -> list[CaptureEvent]:
        """Return the events of what is in the ring, up to MAX_READ_S of it."""
        clear: list[Block] = []
        seconds = 0.0
        while seconds < MAX_READ_S and (block := self._ring.read()) is not None:
            self._overruns += block.lost > 0
            self.arrival_time = block.arrival_time
            seconds += len(block.samples) / self._device.rate
            clear += self._gaps.feed(block)
        return self._events(clear)

    def finish(self) -> list[CaptureEvent]:
        """Return the events of all that has come. The device is not closed, since that may take its time."""
        events: list[CaptureEvent] = []
        while len(self._ring):
            events += self.read()
        return [*events, *self._events(self._gaps.flush()), *self.resampler.flush()]

    def close(self) -> None:
        self._stream.close()

    def _callback(self, indata: NDArray[np.float32], flagged: bool) -> None:
        """PortAudio's thread: no more than this."""
        self._ring.write(indata, flagged)

    def _events(self, blocks: list[Block]) -> list[CaptureEvent]:
        """As few events as the losses allow, since each costs its reader something."""
        events: list[CaptureEvent] = []
        start = 0
        for end in range(1, len(blocks) + 1):
            if end == len(blocks) or blocks[end].lost:
                joined = blocks[start:end]
                samples = np.concatenate([block.samples for block in joined])
                events += self.resampler.feed(Block(samples, joined[-1].arrival_time, joined[0].lost))
                notice = self._silence.feed(self.resampler.peak, len(samples) / self._device.rate)
                if notice is not None:
                    events.append(notice)
                start = end
        return events


class Microphone(ReconnectingSource[DeviceStream]):
    """It never ends by itself.

    The device runs at its own rate and in its own thread, which only fills a ring. When it is gone, another thread
    looks for it, since PortAudio may be stuck for a while with a device that is half there.
    """

    def __init__(
        self,
        selector: str | None = None,
        channel: int | None = None,
        *,
        name: str = "mic",
        tap: AudioTap | None = None,
        system: SoundSystem | None = None,
        limits: MicrophoneLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """selector: as for find_input. channel: the one to use, from 1; None: the mean of up to MAX_CHANNELS.

        system: PortAudio if None. clock, sleep: in seconds. Raises SourceError if there is no such input or it cannot
        be opened.
        """
        if channel is not None and channel < 1:
            raise SpecError("channels of an input are counted from 1")
        self._system = PortAudio() if system is None else system
        self._selector, self._channel, self._tap = selector, channel, tap
        self._clock, self._sleep = clock, sleep
        self._limits = limits or MicrophoneLimits()
        self._idle_s = 0.0  # of waiting since the last sample
        self._lost_before = 0  # losses of devices that are gone
        self._gone: DeviceStream | None = None  # the device that is gone; closed by the retry's thread, or at the end
        self._device = find_input(selector, self._system.inputs())
        stream = self._open(self._device)
        super().__init__(name, stream.description, stream, self._limits.first_retry_s)
        self._connected(stream)

    @property
    def xruns(self) -> int:
        return super().xruns + self._lost_before + (0 if self._connection is None else self._connection.losses)

    def close(self) -> None:
        super().close()
        if self._gone is not None:
            self._gone.close()

    def _open(self, device: InputDevice) -> DeviceStream:
        return DeviceStream(self._system, device, self._channel, self._tap, self._limits, self._clock)

    def _connect(self) -> DeviceStream:
        """Open the device again. Raises SourceError as long as it is not there."""
        if self._gone is not None:
            self._gone.close()
        self._system.refresh()
        inputs = self._system.inputs()
        if self._selector is None:  # the default input is whichever is that now
            return self._open(find_input(None, inputs))
        same = [d for d in inputs if (d.name, d.host_api) == (self._device.name, self._device.host_api)]
        # an index may be another device's by now
        name = self._device.name if self._selector.strip().isdecimal() else self._selector
        return self._open(same[0] if same else find_input(name, inputs))

    def _connected(self, connection: DeviceStream) -> None:
        self.description, self.latency_s = connection.description, connection.latency_s

    def _receive(self, connection: DeviceStream, timeout_s: float) -> list[CaptureEvent]:
        events: list[CaptureEvent] = []
        if self._is_lost and (first := connection.first_sample_time) is not None:
            events += self._bridge(connection, 0.0 if self._newest is None else first - self._newest)
        previous = connection.arrival_time
        events += connection.read()
        if connection.arrival_time != previous:
            self._idle_s, self._newest = 0.0, connection.arrival_time
            return events
        timeout = self._limits.start_timeout_s if previous is None else self._limits.block_timeout_s
        if not connection.is_active or self._idle_s >= timeout:
            return events + self._leave(connection)
        start = self._clock()
        self._sleep(min(POLL_INTERVAL_S, timeout_s))
        self._idle_s += min(self._clock() - start, MAX_POLL_S)
        return events

    def _bridge(self, connection: DeviceStream, seconds: float) -> list[CaptureEvent]:
        """The first sample of a device that is back was recorded so long after the last of the one before."""
        events: list[CaptureEvent] = []
        if (lost := round(seconds * SAMPLE_RATE)) > 0:
            events.append(AudioGap(lost))
            connection.resampler.tap_silence(seconds)
        self._reset_delay()
        return [*events, self._recover(f"sound again from {connection.description}")]

    def _leave(self, connection: DeviceStream) -> list[CaptureEvent]:
        """The device is gone: return all that came, and look for it."""
        events = connection.finish()
        if connection.arrival_time is not None:
            self._newest = connection.arrival_time
        self._lost_before += connection.losses
        self._gone, self._idle_s = connection, 0.0
        text = f"no sound comes from {self._device.name} any more: waiting for it to come back"
        return events + self._reconnect(text)
