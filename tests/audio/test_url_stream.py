"""Radio over the web: it plays, breaks off and comes back; what never worked is an error. All servers are local."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio import url_stream as radio
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent, SourceNotice
from streamtag.audio.url_stream import UrlStream
from streamtag.errors import SourceError

Encode = Callable[..., Path]
Tone = Callable[..., NDArray[np.float32]]


class Station(http.server.ThreadingHTTPServer):
    """Plays `sound` to whoever connects, then breaks off. off: answers with 503. told_length: as a file would be."""

    def __init__(self, sound: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Playing)
        self.sound = sound
        self.off = False
        self.told_length = False
        self.connections = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/evening.aac"


class Playing(http.server.BaseHTTPRequestHandler):
    server: Station

    def do_GET(self) -> None:
        self.server.connections += 1
        if self.server.off:
            self.send_error(503)
            return
        self.send_response(200)
        if self.server.told_length:
            self.send_header("Content-Length", str(len(self.server.sound)))
        self.end_headers()
        self.wfile.write(self.server.sound)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def station(tmp_path: Path, encode: Encode, tone: Tone) -> Iterator[Station]:
    sound = encode(tmp_path / "part.aac", tone(3, 44100), 44100, "aac").read_bytes()
    with Station(sound) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radio, "FIRST_S", 0.05)


def taken(capture: UrlStream, until: Callable[[list[CaptureEvent]], bool]) -> list[CaptureEvent]:
    pieces: list[CaptureEvent] = []
    end = time.monotonic() + 30
    while not until(pieces):
        assert time.monotonic() < end, [piece for piece in pieces if isinstance(piece, SourceNotice)]
        piece = capture.read(0.05)
        assert piece is not None
        if not isinstance(piece, AudioChunk) or len(piece.samples):
            pieces.append(piece)
    return pieces


def seconds_of(pieces: list[CaptureEvent]) -> float:
    return sum(len(piece.samples) for piece in pieces if isinstance(piece, AudioChunk)) / 16000


def notices_of(pieces: list[CaptureEvent]) -> list[SourceNotice]:
    return [piece for piece in pieces if isinstance(piece, SourceNotice)]


def test_it_plays(station: Station) -> None:
    teed: list[NDArray[np.float32]] = []
    with UrlStream(station.address, tap=lambda samples, rate: teed.append(samples[: rate * 99])) as capture:
        pieces = taken(capture, lambda pieces: seconds_of(pieces) > 2.8)
        assert capture.name == "evening.aac"
        assert capture.description == f"{station.address}, aac, 44100 Hz, 1 channel"
        assert capture.latency_s == 0
    samples = np.concatenate([piece.samples for piece in pieces if isinstance(piece, AudioChunk)])
    spectrum = np.abs(np.fft.rfft(samples[8000:40000] * np.hanning(32000)))
    assert np.argmax(spectrum) / 2 == pytest.approx(440, abs=1)
    np.testing.assert_array_equal(np.concatenate(teed)[: len(samples)], samples)


def test_it_breaks_off_and_comes_back_with_what_was_lost(station: Station) -> None:
    with UrlStream(station.address) as capture:
        pieces = taken(capture, lambda pieces: bool(notices_of(pieces)))
        station.off = True
        gone = time.monotonic()
        (notice,) = notices_of(pieces)
        assert notice.is_problem
        assert notice.text.startswith(f"{station.address}: ")
        assert notice.text.endswith("; connecting again")
        before = station.connections
        taken(capture, lambda _: station.connections >= before + 2)  # in vain, and nothing more is said
        station.off = False
        pieces = taken(capture, lambda pieces: seconds_of(pieces) > 1)
        assert notices_of(pieces) == [SourceNotice(f"{station.address}: connected again", is_problem=False)]
        (lost,) = [piece.samples / 16000 for piece in pieces if isinstance(piece, AudioGap)]
        assert pieces[0] == AudioGap(round(lost * 16000))
        assert 0 < lost < time.monotonic() - gone + 0.5
        assert capture.xruns == 1


def test_attempts_come_less_and_less_often(station: Station) -> None:
    with UrlStream(station.address) as capture:
        taken(capture, lambda pieces: bool(notices_of(pieces)))
        station.off = True
        before = station.connections
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            capture.read(0.05)
        assert 1 <= station.connections - before <= 5  # after 0.1, 0.2, 0.4, 0.8 s; every 0.05 s would be 24


def test_what_was_sent_with_its_length_ends_when_it_ends(station: Station) -> None:
    station.told_length = True
    with UrlStream(station.address) as capture:
        pieces = []
        while (piece := capture.read(1)) is not None:
            pieces.append(piece)
    assert seconds_of(pieces) == pytest.approx(3, abs=0.2)
    assert notices_of(pieces) == []
    assert station.connections < 4  # FFmpeg may ask for a part of it once more


@pytest.mark.parametrize("way", ["missing", "no audio", "no host", "refused"])
def test_what_never_worked_is_an_error_at_once(way: str, station: Station) -> None:
    address, reason = station.address, "not audio"
    if way == "missing":
        station.off, reason = True, "server returned 5XX"
    elif way == "no audio":
        station.sound, station.told_length = b"no music\n" * 999, True
    elif way == "no host":
        address, reason = "http://nowhere.invalid/", "no such host"
    else:
        address, reason = "http://127.0.0.1:1/", "cannot be reached"
    with UrlStream(address) as capture, pytest.raises(SourceError, match=f"(?i){reason}"):
        taken(capture, lambda _: False)
    assert capture.read(0) is None


@pytest.mark.parametrize("where", ["song.mp3", "ftp://host/", ""])
def test_what_is_no_address_is_refused(where: str) -> None:
    with pytest.raises(SourceError):
        UrlStream(where)


def test_closing_it_does_not_wait_for_the_next_attempt(station: Station) -> None:
    with UrlStream(station.address) as capture:
        taken(capture, lambda pieces: bool(notices_of(pieces)))
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert capture.read(1) is None


FROM_STDIN = """
import sys
from streamtag.errors import SourceError
from streamtag.audio.source import AudioChunk
from streamtag.audio.url_stream import UrlStream
total = 0
try:
    with UrlStream("-") as capture:
        while (piece := capture.read(0.2)) is not None:
            total += len(piece.samples) if isinstance(piece, AudioChunk) else 0
        print(capture.name, capture.description)
except SourceError as error:
    print(error)
print(total)
"""


def test_a_container_on_standard_input_ends_when_it_ends(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    path = encode(tmp_path / "a.flac", tone(2, 44100), 44100, "flac")
    command = [sys.executable, "-c", FROM_STDIN]
    with path.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "stdin standard input, flac, 44100 Hz, 1 channel\n32000\n"


def test_no_container_on_standard_input_is_an_error() -> None:
    command = [sys.executable, "-c", FROM_STDIN]
    done = subprocess.run(command, input="no music\n" * 99, capture_output=True, text=True, timeout=60, check=True)
    assert "standard input: not an audio file" in done.stdout
