"""`streamtag serve` as a process of its own: producers and subscribers over real sockets, the small model behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streamtag.api import Tagger
from streamtag.audio.resample import Resampler
from streamtag.protocol.messages import End, Event, Frame, Hello
from streamtag.protocol.reader import parse
from tests.cli.serve_process import (
    CLOSE,
    END,
    WAIT_S,
    Serve,
    Start,
    alone,
    as_heard,
    as_pcm,
    begin,
    frames_of,
    numbers_of,
    probs_of,
    push,
    read,
    rest,
    tones,
    until_frame,
)


@pytest.fixture(scope="module")
def server(standing: Start) -> Serve:
    return standing()


def test_two_producers_and_their_subscribers_hear_what_sessions_would(server: Serve, tagger: Tagger) -> None:
    everything, single = server.connect("/"), server.connect("/streams/low")
    one = server.connect("/ingest/low")
    other = server.connect("/ingest/H%C3%B6he%202?rate=48000&format=f32le&channels=2")
    low, high = as_pcm(tones(9.3)), tones(7.1, 48000, seed=1).astype("<f4")
    stereo = np.stack([0.75 * high, 1.25 * high], axis=1).astype("<f4")
    assert [begin(one), begin(other)] == [0, 0]
    push(one, low)
    push(other, stereo.tobytes(), (40_001, 9))
    one.send(END)
    other.send(END)
    of_one, of_other = rest(one), rest(other)
    assert (one.close_code, other.close_code) == (1000, 1000)
    expected = alone(tagger, as_heard(low))
    assert numbers_of(of_one) == list(range(len(expected)))
    assert np.abs(probs_of(of_one) - expected).max() < CLOSE
    resampler = Resampler(48000)
    mono = np.concatenate([resampler.feed(stereo.mean(axis=1)), resampler.flush()])
    expected = alone(tagger, mono)
    assert numbers_of(of_other) == list(range(len(expected)))
    assert np.abs(probs_of(of_other) - expected).max() < CLOSE
    end = of_one[-1]
    assert isinstance(end, End)
    assert (end.stream, end.frames) == ("low", len(frames_of(of_one)))
    assert end.seconds == pytest.approx(9.3, abs=1e-3)
    assert list(end.summary.values()) == pytest.approx(probs_of(of_one).mean(axis=0), abs=1e-3)
    assert any(isinstance(message, Event) for message in of_one)
    ends, told = 0, []
    while ends < 2:
        told.append(read(everything))
        ends += isinstance(told[-1], End)
    by_stream = {name: [m for m in told if getattr(m, "stream", None) == name] for name in ("low", "Höhe 2")}
    assert by_stream == {"low": of_one, "Höhe 2": of_other}
    assert isinstance(read(single), Hello)
    assert [read(single) for _ in of_one] == of_one


def test_a_live_producer_hears_its_frames_as_the_sound_goes(server: Serve) -> None:
    client = server.connect("/ingest/mic?top=3")
    begin(client)
    pcm, began, late = as_pcm(tones(4)), time.monotonic(), []
    for start_byte in range(0, len(pcm), 3200):
        time.sleep(max(0.0, began + (start_byte + 3200) / 32000 - time.monotonic()))
        client.send(pcm[start_byte : start_byte + 3200])
    for message in until_frame(client, 13):
        if isinstance(message, Frame):
            assert len(message.tags) == 3
            assert message.latency_s is not None
            late.append(message.latency_s)
    assert np.median(late) < 1.0  # the look-ahead is 0.384 s of it, a chunk 0.1 s
    client.send(END)
    assert isinstance(rest(client)[-1], End)


def test_names_are_unique_and_places_are_counted(start: Start) -> None:
    server = start("--max-streams", "2", "--max-producers-per-client", "3")
    one, _two = server.connect("/ingest/one"), server.connect("/ingest/two")
    begin(one)
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
    assert isinstance(rest(one)[-1], End)
    assert begin(server.connect("/ingest/three")) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_every_stream_with_its_end(start: Start, tmp_path: Path, number: int, code: int) -> None:
    record = tmp_path / "all.jsonl"
    server = start("--json", "--top", "2", "--record", str(record))
    subscriber = server.connect("/")
    clients = [server.connect(f"/ingest/stream-{index}") for index in range(3)]
    for client in clients:
        begin(client)
        client.send(as_pcm(tones(3)))
        until_frame(client, 9)
    away = clients.pop()
    away.close()
    status, out, err = server.stop(number)
    assert status == code, err
    for client in clients:
        assert isinstance(rest(client)[-1], End)
        assert client.close_code == 1000
    told = rest(subscriber)
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
    begin(client)
    client.send(END)
    rest(client)
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


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_on_a_terminal_the_streams_stand_in_a_table_that_goes_at_the_end(model: Path) -> None:
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "streamtag.cli", "serve", "0", "--max-streams", "8", "--device", "cpu"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "90", "LINES": "20", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--model", str(model)], stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(master, 65536).decode(errors="replace")

    try:
        until("room for")
        (port,) = re.findall(r"serving on http://127\.0\.0\.1:(\d+)/", shown)
        with connect(f"ws://127.0.0.1:{port}/ingest/mic", compression=None, proxy=None) as client:
            client.send(as_pcm(tones(2.9)))
            until("1 of 8 streams")
            until("0:02")
            process.send_signal(signal.SIGINT)
            assert isinstance(rest(client)[-1], End)
        until("mic: ended after 0:02")
        assert process.wait(WAIT_S) == 130
        assert shown.rindex("\x1b[?25h") > shown.rindex("1 of 8 streams")  # the cursor is back
    finally:
        process.kill()
        process.wait()
        os.close(master)
