"""`streamtag serve` as a process of its own: producers and subscribers over real sockets, the small model behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_client

from streamtag.app import Tagger
from streamtag.live.resample import Resampler
from streamtag.live.session import Session
from streamtag.message import End, Event, Frame, Gap, Hello, Message, Ready
from streamtag.message_reader import parse

WAIT_S = 30.0
END = '{"type":"end"}'
CLOSE = 2e-4  # of two probabilities: the batch's own arithmetic, and rounding to four decimals


class Serve:
    """A server that runs. address: ws://HOST:PORT."""

    def __init__(self, process: subprocess.Popen[str], address: str, said: list[str], resources: ExitStack) -> None:
        self.process, self.address, self.said, self._resources = process, address, said, resources

    def connect(self, path: str) -> ClientConnection:
        """Again and again where a machine that is busy with other things makes the server miss a deadline."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                client: ClientConnection = connect_client(
                    self.address + path, compression=None, proxy=None, max_queue=None
                )
            except InvalidStatus as refused:
                if b"done in time" not in refused.response.body or time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return self._resources.enter_context(client)

    def get(self, path: str) -> bytes:
        with urlopen(self.address.replace("ws", "http", 1) + path, timeout=WAIT_S) as answer:
            body: bytes = answer.read()
            return body

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """-> exit code, standard output, and what it said to people."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, "".join(self.said) + err


Start = Callable[..., Serve]


@pytest.fixture
def start(model: Path) -> Iterator[Start]:
    """start(*options) -> a server with the small model; on a free port, stopped when the test ends."""
    with ExitStack() as resources:

        def start(*options: str) -> Serve:
            command = [sys.executable, "-m", "streamtag.cli", "serve", "0", "--model", str(model), "--device", "cpu"]
            process = resources.enter_context(
                subprocess.Popen(
                    [*command, "--max-streams", "8", *options],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            )
            resources.callback(process.kill)
            assert process.stderr is not None
            said: list[str] = []
            while not (said and "room for" in said[-1]):
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            (port,) = re.findall(r"serving on http://127\.0\.0\.1:(\d+)/", said[0])
            return Serve(process, f"ws://127.0.0.1:{port}", said, resources)

        yield start


def _sound(seconds: float, rate: int = 16000, seed: int = 0) -> NDArray[np.float64]:
    """Tones that come and go over noise: [n] in [-1, 1]."""
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    pitch = 110 * 2 ** (rng.integers(0, 36, int(seconds) + 1) / 12)
    tones = np.sin(2 * np.pi * pitch[t.astype(int)] * t) * np.exp(-3 * (t % 1))
    return np.asarray(0.4 * tones + 0.02 * rng.standard_normal(len(t)))


def _pcm(sound: NDArray[np.float64]) -> bytes:
    return np.round(sound * 32767).astype("<i2").tobytes()


def _heard(pcm: bytes) -> NDArray[np.float32]:
    return np.frombuffer(pcm, "<i2") * np.float32(1 / 32768)


def _read(client: ClientConnection) -> Message:
    message = parse(client.recv(timeout=WAIT_S))
    assert message is not None
    return message


def _rest(client: ClientConnection) -> list[Message]:
    messages = []
    while True:
        try:
            messages.append(_read(client))
        except ConnectionClosed:
            return messages


def _begin(client: ClientConnection) -> int:
    """-> the position that is wanted."""
    hello, ready = _read(client), _read(client)
    assert isinstance(hello, Hello)
    assert isinstance(ready, Ready)
    return ready.position


def _until_frame(client: ClientConnection, number: int) -> list[Message]:
    """All messages up to the frame of this number."""
    messages: list[Message] = []
    while not (messages and isinstance(messages[-1], Frame) and messages[-1].frame == number):
        messages.append(_read(client))
    return messages


def _push(client: ClientConnection, pcm: bytes, sizes: Sequence[int] = (3201, 7, 12_800)) -> None:
    """In pieces of these sizes, again and again: samples are cut in two."""
    start = turn = 0
    while start < len(pcm):
        size = sizes[turn % len(sizes)]
        client.send(pcm[start : start + size])
        start, turn = start + size, turn + 1


def _frames(messages: Sequence[Message]) -> list[Frame]:
    return [message for message in messages if isinstance(message, Frame)]


def _numbers(messages: Sequence[Message]) -> list[int]:
    return [frame.frame for frame in _frames(messages)]


def _probs(messages: Sequence[Message]) -> NDArray[np.float64]:
    return np.array([list(frame.tags.values()) for frame in _frames(messages)])


def _alone(tagger: Tagger, audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a session by itself makes of a whole sound, [frames, tags]."""
    session = Session(tagger)
    return np.array([frame.probs for frame in [*session.feed(audio), *session.flush()]], np.float64)


def test_two_producers_and_their_subscribers_hear_what_sessions_would(start: Start, tagger: Tagger) -> None:
    server = start()
    everything, single = server.connect("/"), server.connect("/streams/low")
    one = server.connect("/ingest/low")
    other = server.connect("/ingest/H%C3%B6he%202?rate=48000&format=f32le&channels=2")
    low, high = _pcm(_sound(9.3)), _sound(7.1, 48000, seed=1).astype("<f4")
    stereo = np.stack([0.75 * high, 1.25 * high], axis=1).astype("<f4")
    assert [_begin(one), _begin(other)] == [0, 0]
    _push(one, low)
    _push(other, stereo.tobytes(), (40_001, 9))
    one.send(END)
    other.send(END)
    of_one, of_other = _rest(one), _rest(other)
    assert (one.close_code, other.close_code) == (1000, 1000)
    expected = _alone(tagger, _heard(low))
    assert _numbers(of_one) == list(range(len(expected)))
    assert np.abs(_probs(of_one) - expected).max() < CLOSE
    resampler = Resampler(48000)
    mono = np.concatenate([resampler.feed(stereo.mean(axis=1)), resampler.flush()])
    expected = _alone(tagger, mono)
    assert _numbers(of_other) == list(range(len(expected)))
    assert np.abs(_probs(of_other) - expected).max() < CLOSE
    end = of_one[-1]
    assert isinstance(end, End)
    assert (end.stream, end.frames) == ("low", len(_frames(of_one)))
    assert end.seconds == pytest.approx(9.3, abs=1e-3)
    assert list(end.summary.values()) == pytest.approx(_probs(of_one).mean(axis=0), abs=1e-3)
    assert any(isinstance(message, Event) for message in of_one)
    ends, told = 0, []
    while ends < 2:
        told.append(_read(everything))
        ends += isinstance(told[-1], End)
    by_stream = {name: [m for m in told if getattr(m, "stream", None) == name] for name in ("low", "Höhe 2")}
    assert by_stream == {"low": of_one, "Höhe 2": of_other}
    assert isinstance(_read(single), Hello)
    assert [_read(single) for _ in of_one] == of_one


def test_a_live_producer_hears_its_frames_as_the_sound_goes(start: Start) -> None:
    client = start().connect("/ingest/mic?top=3")
    _begin(client)
    pcm, began, late = _pcm(_sound(4)), time.monotonic(), []
    for start_byte in range(0, len(pcm), 3200):
        time.sleep(max(0.0, began + (start_byte + 3200) / 32000 - time.monotonic()))
        client.send(pcm[start_byte : start_byte + 3200])
    for message in _until_frame(client, 13):
        if isinstance(message, Frame):
            assert len(message.tags) == 3
            assert message.latency_s is not None
            late.append(message.latency_s)
    assert np.median(late) < 1.0  # the look-ahead is 0.384 s of it, a chunk 0.1 s
    client.send(END)
    assert isinstance(_rest(client)[-1], End)


def test_who_comes_back_with_its_position_goes_on_as_if_nothing_had_been(start: Start, tagger: Tagger) -> None:
    server = start()
    pcm = _pcm(_sound(9))
    expected = _alone(tagger, _heard(pcm))
    client = server.connect("/ingest/mic")
    _begin(client)
    _push(client, pcm[: 2 * 40_000])
    told = _until_frame(client, 8)  # the last that 2.5 s give
    client.socket.close()  # without a word
    again = server.connect("/ingest/mic?position=30000")  # it sends some of it again
    assert _begin(again) == 30_000
    _push(again, pcm[2 * 30_000 :])
    again.send(END)
    told += _rest(again)
    assert not [message for message in told if isinstance(message, Gap)]
    assert _numbers(told) == list(range(len(expected)))
    assert np.abs(_probs(told) - expected).max() < CLOSE


def test_who_comes_back_later_in_the_sound_is_told_of_just_that_gap(start: Start, tagger: Tagger) -> None:
    server = start()
    pcm = _pcm(_sound(9))
    client = server.connect("/ingest/mic")
    _begin(client)
    _push(client, pcm[: 2 * 40_000])
    told = _until_frame(client, 8)
    client.close()
    again = server.connect("/ingest/mic?position=56000")  # 1 s is missing
    assert _begin(again) == 56_000
    _push(again, pcm[2 * 56_000 :])
    again.send(END)
    told += _rest(again)
    assert [message for message in told if isinstance(message, Gap)] == [Gap("mic", 2.5, 1.0)]
    session = Session(tagger)
    session.feed(_heard(pcm[: 2 * 40_000]))
    after = [*session.lose(16_000), *session.feed(_heard(pcm[2 * 56_000 :])), *session.flush()]
    assert _numbers(told)[9:] == [frame.index for frame in after]
    assert np.abs(_probs(told)[9:] - np.array([frame.probs for frame in after])).max() < CLOSE
    fresh = Session(tagger).feed(_heard(pcm[2 * 56_000 :]))  # it did remember what came before
    assert np.abs(_probs(told)[-3] - fresh[-1].probs).max() > 10 * CLOSE


def test_who_does_not_count_loses_the_time_that_it_was_gone(start: Start) -> None:
    server = start()
    client = server.connect("/ingest/mic")
    _begin(client)
    client.send(_pcm(_sound(2)))
    _until_frame(client, 5)
    client.socket.close()
    gone = time.monotonic()
    time.sleep(1.2)
    again = server.connect("/ingest/mic")
    _begin(again)
    gone_s = time.monotonic() - gone
    again.send(_pcm(_sound(1)))
    again.send(END)
    (gap,) = [message for message in _rest(again) if isinstance(message, Gap)]
    assert gap.start == 2.0
    assert 1.0 < gap.lost_s < gone_s + 0.1


def test_a_stream_that_nobody_comes_back_to_ends_by_itself(start: Start) -> None:
    server = start()
    subscriber, client = server.connect("/"), server.connect("/ingest/mic")
    _begin(client)
    client.send(_pcm(_sound(2)))
    _until_frame(client, 5)
    client.close()
    broke_off = time.monotonic()
    told = [_read(subscriber)]
    while not isinstance(told[-1], End):
        told.append(_read(subscriber))
    assert 9 < time.monotonic() - broke_off < 15
    assert _begin(server.connect("/ingest/mic?position=32000")) == 0  # another stream of that name


def test_names_are_unique_and_places_are_counted(start: Start) -> None:
    server = start("--max-streams", "2", "--max-producers-per-client", "3")
    one, _two = server.connect("/ingest/one"), server.connect("/ingest/two")
    _begin(one)
    with pytest.raises(InvalidStatus) as taken:
        server.connect("/ingest/one")
    assert taken.value.response.status_code == 409
    with pytest.raises(InvalidStatus) as busy:
        server.connect("/ingest/three")
    answer = busy.value.response
    assert answer.status_code == 503
    assert answer.body.decode().startswith("busy: there is room for 2 streams")
    assert int(answer.headers["Retry-After"]) >= 1
    health = json.loads(server.get("/health"))
    assert (health["capacity"], health["room"], health["running"]) == (2, 0, 2)
    assert health["retry_after_s"] > 0
    one.send(END)
    assert isinstance(_rest(one)[-1], End)
    assert _begin(server.connect("/ingest/three")) == 0


@pytest.mark.parametrize("settings", ["", "rate=44100&format=f32le&channels=2"])
def test_a_stream_moves_to_another_server_without_a_break(start: Start, settings: str) -> None:
    """Its frames are those of one that stayed; without its state they would differ."""
    first, second, control = start(), start(), start()
    rate = 44100 if settings else 16000
    sound = _sound(8, rate)
    pcm = np.stack([sound, 0.5 * sound], axis=1).astype("<f4").tobytes() if settings else _pcm(sound)
    size = len(pcm) // len(sound)
    cut = round(3.7 * rate)
    path = f"/ingest/mic?{settings}"

    stays = first.connect(path.replace("mic", "stays"))
    _begin(stays)
    _push(stays, pcm)
    stays.send(END)
    unbroken = _rest(stays)

    goes = first.connect(path)
    _begin(goes)
    _push(goes, pcm[: cut * size + size // 2])  # half a sample is there, too
    before = _until_frame(goes, 12)  # all that 3.7 s give
    state = first.get("/streams/mic/state")
    assert len(state) < 1 << 20
    taker = second.connect("/streams/mic/state")
    taker.send(state)
    ready = _read(taker)
    assert isinstance(ready, Ready)
    assert _rest(taker) == []
    assert taker.close_code == 1000
    arrives = second.connect(f"{path}&position={ready.position}")
    assert _begin(arrives) == ready.position
    assert abs(ready.position - cut) < rate  # what waits in the server has not been heard
    _push(arrives, pcm[ready.position * size :])
    arrives.send(END)
    after = _rest(arrives)
    told = [*before, *after]
    assert not [message for message in told if isinstance(message, Gap)]
    assert _numbers(told) == _numbers(unbroken)
    assert np.abs(_probs(told) - _probs(unbroken)).max() < CLOSE
    events = [[(e.tag, e.state, e.time) for e in some if isinstance(e, Event)] for some in (told, unbroken)]
    assert events[0] == events[1]
    end, other = after[-1], unbroken[-1]
    assert isinstance(end, End)
    assert isinstance(other, End)
    assert end.frames == other.frames
    assert end.seconds == pytest.approx(other.seconds, abs=2e-3)
    assert list(end.summary.values()) == pytest.approx(list(other.summary.values()), abs=CLOSE)

    stranger = control.connect(path)
    assert _begin(stranger) == 0
    _push(stranger, pcm[ready.position * size :])
    stranger.send(END)
    strange = _probs(_rest(stranger))
    count = len(strange)
    assert np.abs(_probs(told)[-count:] - strange).max() > 10 * CLOSE


def test_a_state_that_was_tampered_with_is_refused_and_the_server_goes_on(start: Start) -> None:
    server = start()
    client = server.connect("/ingest/mic")
    _begin(client)
    client.send(_pcm(_sound(2)))
    _until_frame(client, 5)
    state = server.get("/streams/mic/state")
    rng = np.random.default_rng(0)
    hostile = [b"", b"{}", state[:-1], state[: len(state) // 2], b"\xff" * 8 + state[8:], rng.bytes(len(state))]
    for number, data in enumerate(hostile):
        taker = server.connect(f"/streams/copy-{number}/state")
        taker.send(data)
        (error,) = _rest(taker)
        assert error.type == "error", number
        assert "\n" not in error.to_json()
        assert taker.close_code == 1008
    taker = server.connect("/streams/mic/state")  # a name that is in use
    taker.send(state)
    assert [message.type for message in _rest(taker)] == ["error"]
    taker = server.connect("/streams/copy/state")
    taker.send(state)
    assert isinstance(_read(taker), Ready)
    client.send(END)
    assert isinstance(_rest(client)[-1], End)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_every_stream_with_its_end(start: Start, tmp_path: Path, number: int, code: int) -> None:
    record = tmp_path / "all.jsonl"
    server = start("--json", "--top", "2", "--record", str(record))
    subscriber = server.connect("/")
    clients = [server.connect(f"/ingest/stream-{index}") for index in range(3)]
    for client in clients:
        _begin(client)
        client.send(_pcm(_sound(3)))
        _until_frame(client, 9)
    away = clients.pop()
    away.close()
    status, out, err = server.stop(number)
    assert status == code, err
    for client in clients:
        assert isinstance(_rest(client)[-1], End)
        assert client.close_code == 1000
    told = _rest(subscriber)
    assert {message.stream for message in told if isinstance(message, End)} == {"stream-0", "stream-1", "stream-2"}
    assert subscriber.close_code == 1001
    lines = [parse(line) for line in out.splitlines()]
    assert isinstance(lines[0], Hello)
    assert sum(isinstance(line, End) for line in lines) == 3
    frames = [line for line in lines if isinstance(line, Frame)]
    assert len(frames) == 3 * 12
    assert all(len(frame.tags) == 2 for frame in frames)
    recorded = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [line["type"] for line in recorded].count("frame") == 3 * 12
    assert len(recorded) == len(lines)
    assert "Traceback" not in err
    assert err.count(": ended after 0:03, 12 frames\n") == 3
    assert "streamtag: ending 3 streams\n" in err


def test_who_comes_and_goes_is_told_and_tokens_are_asked_for(start: Start) -> None:
    server = start("--ingest-token", "write", "--token", "read")
    with pytest.raises(InvalidStatus) as refused:
        server.connect("/ingest/mic?token=read")
    assert refused.value.response.status_code == 401
    client = server.connect("/ingest/mic?token=write&rate=8000")
    _begin(client)
    client.send(END)
    _rest(client)
    code, out, err = server.stop()
    assert (code, out) == (130, "")
    assert err.splitlines()[2:] == [
        "streamtag: room for 8 live streams",
        "streamtag: mic: sound from 127.0.0.1, 8000 Hz s16le",
        "streamtag: mic: ended after 0:00, 0 frames",
        "streamtag: ending 0 streams",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["99999"], 1, "99999: ports go from 0 to 65535"),
        (["nowhere.invalid:8765"], 1, "nowhere.invalid:8765: cannot be served: "),
        (["0", "--ingest-token", "two words"], 1, "a token is one or more ASCII characters without spaces"),
        (["0", "--record", "/no/such/folder/F.jsonl"], 1, "F.jsonl"),
        (["0", "--tags", "gitar"], 1, "gitar: not a tag of this model"),
        ([], 2, "Missing argument"),
        (["0", "--max-streams", "0"], 2, "--max-streams"),
    ],
)
def test_a_wrong_wish_is_one_clear_line(model: Path, arguments: list[str], code: int, told: str) -> None:
    command = [sys.executable, "-m", "streamtag.cli", "serve", *arguments, "--model", str(model), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.splitlines()) == 1
