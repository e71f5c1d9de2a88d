"""Several microphones of one sound system, on a fake sounddevice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from streamtag.audio.devices import PortAudio
from streamtag.audio.microphone import Microphone
from tests.audio.capture import QUICK, RATE, notices_of, read_until


class FakeLibrary:
    """The module sounddevice with two inputs."""

    PortAudioError = RuntimeError
    default = SimpleNamespace(device=(0, 0))

    def __init__(self) -> None:
        self.streams: list[Any] = []
        self.refreshed = 0

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA", "default_input_device": 0}]

    def query_devices(self) -> list[dict[str, Any]]:
        common = {"hostapi": 0, "default_samplerate": RATE, "max_input_channels": 1}
        return [{"name": name, **common} for name in ("USB", "Line")]

    def InputStream(self, **_: Any) -> Any:  # noqa: N802  (its name)
        stream = MagicMock(active=True, latency=0.01)
        self.streams.append(stream)
        return stream

    def _terminate(self) -> None:
        assert all(stream.close.called for stream in self.streams)

    def _initialize(self) -> None:
        self.refreshed += 1


def test_microphones_that_share_a_sound_system_leave_each_other_alone() -> None:
    """Devices are looked for again only when no other one is open."""
    library = FakeLibrary()
    shared = PortAudio(library)
    with Microphone("USB", system=shared, limits=QUICK) as usb, Microphone("Line", system=shared, limits=QUICK) as line:
        first = library.streams[0]
        first.active = False
        assert [notice.is_problem for notice in notices_of(read_until(usb, notices_of))] == [True]
        read_until(usb, lambda _: len(library.streams) == 3)  # found where it was
        assert (first.close.called, library.refreshed) == (True, 0)
        assert not library.streams[1].close.called
        line.close()
        library.streams[2].active = False
        read_until(usb, lambda _: len(library.streams) == 4)
        assert library.refreshed == 1
