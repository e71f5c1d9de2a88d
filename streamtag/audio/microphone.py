"""Endless sound from an input of this machine, which may be pulled out and come back."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from streamtag.audio.backoff import FIRST_S, BackoffRetry, next_delay
from streamtag.audio.device_stream import DeviceStream
from streamtag.audio.devices import InputDevice, PortAudio, SoundSystem, find_input
from streamtag.audio.resample import SAMPLE_RATE, AudioTap
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent, Closing, SourceNotice
from streamtag.errors import SpecError

CHANNELS = 2  # most that are mixed; sound servers offer 32, of which most are empty
POLL_S = 0.004  # s; a callback can wake nobody, since that takes a lock: so the taker looks
POLL_MOST_S = 0.1  # s of waiting that one look counts for: whoever was stopped meanwhile has not waited
DEAD_S = 2.0  # s without a callback, then the device counts as gone
START_S = 6.0  # s, for its first; a sink that nobody used before takes 2 s

_NOTHING = np.zeros(0, np.float32)


class Microphone(Closing):
    """A Capture. It never ends by itself.

    The device runs at its own rate and in its own thread, which does no more than fill a ring. When it is gone,
    another thread looks for it, since PortAudio may be stuck for a while with a device that is half there.
    """

    def __init__(
        self,
        wanted: str | None = None,
        channel: int | None = None,
        *,
        channels: int = CHANNELS,
        tap: AudioTap | None = None,
        system: SoundSystem | None = None,
    ) -> None:
        """wanted: as for find_input. channel: the one to hear, from 1; None: the mean of up to `channels`.

        system: PortAudio if None. Raises SourceError if there is no such input or it cannot be opened.
        """
        if channels < 1 or (channel is not None and channel < 1):
            raise SpecError("channels of an input are counted from 1")
        self._system = PortAudio() if system is None else system
        self._wanted, self._channel, self._channels, self._tap = wanted, channel, channels, tap
        self._pieces: deque[CaptureEvent] = deque()
        self._idle_s = 0.0  # of waiting since the last sample
        self._last_s: float | None = None  # when that came; None if none ever did
        self._gone = False  # that the device is gone was told, and not yet that it is back
        self._xruns = 0  # those of lines that are gone
        self._pause_s = FIRST_S
        self._closed = False
        self._retry: BackoffRetry[DeviceStream] | None = None
        self._old: DeviceStream | None = None  # closed by the retry, or with it
        self._device = find_input(wanted, self._system.inputs())
        self._line: DeviceStream | None = self._opened(self._device)
        self._about, self._delay_s = self._line.about, self._line.latency_s

    @property
    def name(self) -> str:
        return "mic"

    @property
    def description(self) -> str:
        return self._about

    @property
    def xruns(self) -> int:
        return self._xruns + (0 if self._line is None else self._line.losses)

    @property
    def latency_s(self) -> float:
        return self._delay_s

    def read(self, timeout_s: float) -> CaptureEvent | None:
        """None only after close: a device that is gone is told and looked for."""
        until = time.monotonic() + timeout_s
        while not self._pieces:
            if self._closed:
                return None
            if self._look():
                continue
            before = time.monotonic()
            if before >= until:
                return AudioChunk(_NOTHING, before)
            time.sleep(min(POLL_S, until - before))
            self._idle_s += min(time.monotonic() - before, POLL_MOST_S)
        return self._pieces.popleft()

    def close(self) -> None:
        self._closed = True
        if self._retry is not None:
            self._retry.close()
        for line in (self._line, self._old):
            if line is not None:
                line.close()

    def _look(self) -> bool:
        """-> whether something has happened."""
        if self._line is None:
            return self._is_back()
        if self._gone and (begins := self._line.begins) is not None:
            self._bridge(self._line, 0.0 if self._last_s is None else begins - self._last_s)
        if self._line.drain():
            self._idle_s, self._last_s = 0.0, self._line.arrived
            return True
        if self._line.active and self._idle_s < (START_S if self._line.arrived is None else DEAD_S):
            return False
        self._leave(self._line)
        return True

    def _bridge(self, line: DeviceStream, seconds: float) -> None:
        """The first sound of a device that is back comes so long after the last of the one before."""
        lost = round(seconds * SAMPLE_RATE)
        if lost > 0:
            self._pieces.append(AudioGap(lost))
            line.intake.tap_silence(seconds)
        self._gone, self._pause_s = False, FIRST_S
        self._pieces.append(SourceNotice(f"sound again from {line.about}", is_problem=False))

    def _leave(self, line: DeviceStream) -> None:
        """The device is gone: all that came is passed on, and somebody looks for it."""
        line.end()
        self._last_s = self._last_s if line.arrived is None else line.arrived
        self._xruns += line.losses + 1
        self._line, self._old, self._idle_s = None, line, 0.0
        if not self._gone:
            self._gone = True
            text = f"no sound comes from {self._device.name} any more: waiting for it to come back"
            self._pieces.append(SourceNotice(text))
        self._retry = BackoffRetry(lambda: self._found(line), self._pause_s)

    def _found(self, before: DeviceStream) -> DeviceStream:
        """In the thread of the retry. Raises SourceError as long as there is no such device."""
        before.close()
        self._system.refresh()
        inputs = self._system.inputs()
        same = [d for d in inputs if (d.name, d.host_api) == (self._device.name, self._device.host_api)]
        # an index may be another device's by now; the default one is whichever is that now
        device = same[0] if same and self._wanted is not None else find_input(self._wanted_now(), inputs)
        return self._opened(device)

    def _is_back(self) -> bool:
        line = None if self._retry is None else self._retry.result()
        if self._retry is None or line is None:
            return False
        self._pause_s = next_delay(self._retry.pause_s)  # until it is heard, that was one more attempt in vain
        self._line, self._retry, self._idle_s = line, None, 0.0
        self._about, self._delay_s = line.about, line.latency_s
        return True

    def _wanted_now(self) -> str | None:
        return self._device.name if self._wanted is not None and self._wanted.strip().isdigit() else self._wanted

    def _opened(self, device: InputDevice) -> DeviceStream:
        return DeviceStream(self._system, device, self._channel, self._channels, self._pieces, self._tap)
