"""Live streams over the web: they play, break off and come back; what never worked is an error. All are local."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio.source import AudioGap, SourceNotice
from streamtag.audio.threaded import FIRST_DELAY_S
from streamtag.audio.url_stream import UrlStream
from streamtag.errors import SourceError
from tests.audio.capture import (
    FakeWait,
    gaps_of,
    has_recovered,
    notices_of,
    read_all,
    read_until,
    samples_of,
)
from tests.audio.radio import Radio
from tests.audio.rtsp_server import rtsp_server, running
from tests.fake_clock import FakeClock
from tests.sounds import Encode, Tone

NAME = "evening.aac"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, encode: Encode, tone: Tone) -> bytes:
    return encode(tmp_path_factory.mktemp("sound") / "part.aac", tone(3, 44100), 44100, "aac").read_bytes()


@pytest.fixture
def radio(sound: bytes) -> Iterator[Radio]:
    with running(Radio(sound, 0)) as radio:
        radio.plays_once = True
        yield radio


@pytest.fixture
def address(radio: Radio) -> str:
    return radio.address(NAME)


def test_it_plays(address: str) -> None:
    parts: list[NDArray[np.float32]] = []
    with UrlStream(address, tap=lambda samples, rate: parts.append(samples[: rate * 99])) as stream:
        samples = samples_of(read_until(stream, lambda events: len(samples_of(events)) > 2.8 * 16000))
        assert stream.name == "evening.aac"
        assert stream.description == f"{address}, aac, 44100 Hz, 1 channel"
        assert (stream.latency_s, stream.xruns) == (0, 0)
    spectrum = np.abs(np.fft.rfft(samples[8000:40000] * np.hanning(32000)))
    assert np.argmax(spectrum) / 2 == pytest.approx(440, abs=1)
    np.testing.assert_array_equal(np.concatenate(parts)[: len(samples)], samples)


def test_it_breaks_off_and_comes_back_with_a_gap_of_true_length(radio: Radio, address: str) -> None:
    clock = FakeClock()
    with UrlStream(address, wait=FakeWait(), clock=clock) as stream:
        (notice,) = notices_of(read_until(stream, notices_of))
        radio.off.add(NAME)
        assert notice.is_problem
        assert notice.text.startswith(f"{address}: ")
        assert notice.text.endswith("; connecting again")
        before = radio.connections[NAME]
        assert read_until(stream, lambda _: radio.connections[NAME] >= before + 2) == []  # no second notice
        clock.now += 7.5
        radio.off.remove(NAME)
        events = read_until(stream, lambda events: len(samples_of(events)) > 16000)
        assert notices_of(events) == [SourceNotice(f"{address}: connected again", is_problem=False)]
        assert gaps_of(events) == [7.5 * 16000]
        assert isinstance(events[0], AudioGap)
        assert stream.xruns == 1


def test_connections_that_break_off_soon_are_opened_less_and_less_often(radio: Radio, address: str) -> None:
    """Although each of them succeeds."""
    wait = FakeWait()
    with UrlStream(address, wait=wait) as stream:
        read_until(stream, lambda _: len(wait.delays) >= 4)
    assert wait.delays[:4] == [FIRST_DELAY_S, 1, 2, 4]
    assert radio.connections[NAME] >= 4


def test_a_sound_that_was_sent_with_its_length_ends_when_it_ends(radio: Radio, address: str) -> None:
    radio.announces_length = True
    with UrlStream(address) as stream:
        events = read_all(stream)
    assert len(samples_of(events)) / 16000 == pytest.approx(3, abs=0.2)
    assert notices_of(events) == []
    assert radio.connections[NAME] < 4  # FFmpeg may ask for a part of it once more


@pytest.mark.parametrize(
    ("where", "reason"), [(None, "server returned 404"), ("http://nowhere.invalid/", "cannot be reached: no such host")]
)
def test_what_never_worked_is_an_error_at_once(where: str | None, reason: str, radio: Radio, address: str) -> None:
    radio.off.add(NAME)
    with UrlStream(where or address) as stream:
        with pytest.raises(SourceError, match=f"(?i){reason}"):
            read_all(stream)
        assert stream.read(0) is None


def test_what_never_worked_is_tried_again_if_it_is_persistent(radio: Radio, address: str) -> None:
    radio.off.add(NAME)
    with UrlStream(address, wait=FakeWait(), is_persistent=True) as stream:
        (notice,) = notices_of(read_until(stream, notices_of))
        assert notice.is_problem
        assert "server returned 404" in notice.text
        assert read_until(stream, lambda _: radio.connections[NAME] >= 4) == []  # no second notice
        radio.off.remove(NAME)
        events = read_until(stream, lambda events: len(samples_of(events)) > 16000)
    assert notices_of(events) == [SourceNotice(f"{address}: connected again", is_problem=False)]
    assert gaps_of(events) == []  # nothing was there that could be lost


def test_an_rtsp_stream_plays_and_reconnects() -> None:
    with rtsp_server(seconds=1) as server, UrlStream(server.address, wait=FakeWait()) as stream:
        events = read_until(stream, notices_of)
        assert len(samples_of(events)) == 16000
        assert notices_of(events) == [SourceNotice(f"{server.address}: ended; connecting again")]
        assert stream.description == f"{server.address}, pcm_mulaw, 8000 Hz, 1 channel"
        events = read_until(stream, has_recovered)
        assert len(gaps_of(events)) == 1
        assert server.connections >= 2


def test_an_rtsp_server_may_lead_to_another_one_but_not_to_a_file(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    path = encode(tmp_path / "private.wav", tone(2, 44100), 44100, "pcm_s16le")
    refused = pytest.raises(SourceError, match="cannot be reached: invalid argument")
    with rtsp_server(redirect=f"file://{path}") as server, UrlStream(server.address) as stream, refused:
        read_all(stream)
    with rtsp_server() as target, rtsp_server(redirect=target.address) as server, UrlStream(server.address) as stream:
        assert len(samples_of(read_until(stream, notices_of))) == 32000


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("song.mp3", "not an address"),
        ("", "is empty"),
        ("rtsp://", "not an address"),
        ("ftp://me:secret@host/", "^ftp://host/: only http://, https://, rtsp://, rtsps://, srt:// and rtmp:// addre"),
        ("udp://@239.0.0.1:1234", "only http"),
        ("file:///etc/passwd", "only http"),
    ],
)
def test_what_is_not_the_address_of_a_stream_is_refused(where: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        UrlStream(where)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "srt", "rtmp"])
def test_every_live_scheme_is_opened(scheme: str) -> None:
    reason = r"cannot be reached: connection refused|this build of FFmpeg cannot read srt:// addresses"
    with UrlStream(f"{scheme}://127.0.0.1:1/live") as stream, pytest.raises(SourceError, match=reason):
        read_all(stream)
