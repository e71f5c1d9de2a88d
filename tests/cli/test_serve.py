"""`streamtag serve` as a process: producers and subscribers over real sockets, with the small model."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from streamtag.api import Tagger
from streamtag.audio.resample import Resampler
from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, Ready
from streamtag.protocol.reader import parse
from tests.cli.conftest import COMMAND, ENVIRONMENT, Run
from tests.cli.serve_process import (
    CLOSE,
    END,
    WAIT_S,
    Serve,
    Start,
    as_pcm,
    begin,
    frames_of,
    numbers_of,
    pcm_samples,
    probs_of,
    push,
    session_probs,
    tones,
    until_frame,
)
from tests.server.support import read, read_all


def test_producers_and_subscribers_receive_the_frames_of_sessions(server: Serve, tagger: Tagger) -> None:
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
    of_one, of_other = read_all(one), read_all(other)
    assert (one.close_code, other.close_code) == (1000, 1000)
    expected = session_probs(tagger, pcm_samples(low))
    assert numbers_of(of_one) == list(range(len(expected)))
    assert np.abs(probs_of(of_one) - expected).max() < CLOSE
    resampler = Resampler(48000)
    mono = np.concatenate([resampler.feed(stereo.mean(axis=1)), resampler.flush()])
    expected = session_probs(tagger, mono)
    assert numbers_of(of_other) == list(range(len(expected)))
    assert np.abs(probs_of(of_other) - expected).max() < CLOSE
    end = of_one[-1]
    assert isinstance(end, End)
    assert (end.stream, end.frames) == ("low", len(frames_of(of_one)))
    assert end.seconds == pytest.approx(9.3, abs=1e-3)
    assert list(end.summary.values()) == pytest.approx(probs_of(of_one).mean(axis=0), abs=1e-3)
    assert any(isinstance(message, Event) for message in of_one)
    ends, received = 0, []
    while ends < 2:
        received.append(read(everything))
        ends += isinstance(received[-1], End)
    by_stream = {name: [m for m in received if getattr(m, "stream", None) == name] for name in ("low", "Höhe 2")}
    assert by_stream == {"low": of_one, "Höhe 2": of_other}
    assert isinstance(read(single), Hello)
    assert [read(single) for _ in of_one] == of_one


def test_a_producer_that_reconnects_with_its_position_continues_without_a_gap(server: Serve, tagger: Tagger) -> None:
    pcm = as_pcm(tones(9))
    expected = session_probs(tagger, pcm_samples(pcm))
    client = server.connect("/ingest/steady")
    begin(client)
    push(client, pcm[: 2 * 40_000])
    received = until_frame(client, 8)  # the last of 2.5 s
    client.socket.close()  # without a close frame
    again = server.connect("/ingest/steady?position=30000")  # it sends some of it again
    assert begin(again) == 30_000
    push(again, pcm[2 * 30_000 :])
    again.send(END)
    received += read_all(again)
    assert not [message for message in received if isinstance(message, Gap)]
    assert numbers_of(received) == list(range(len(expected)))
    assert np.abs(probs_of(received) - expected).max() < CLOSE


def test_a_stream_moves_to_another_server_without_a_break(servers: tuple[Serve, Serve], tagger: Tagger) -> None:
    first, second = servers
    pcm = as_pcm(tones(8))
    cut, expected = 59_200, session_probs(tagger, pcm_samples(pcm))
    goes = first.connect("/ingest/mover")
    begin(goes)
    push(goes, pcm[: 2 * cut + 1])  # with half a sample
    received = until_frame(goes, 12)  # the last of 3.7 s
    importer = second.connect("/streams/mover/state")
    importer.send(first.get("/streams/mover/state"))
    ready = read(importer)
    assert isinstance(ready, Ready)
    assert read_all(importer) == []
    assert importer.close_code == 1000
    arrives = second.connect(f"/ingest/mover?position={ready.position}")
    assert begin(arrives) == ready.position
    assert abs(ready.position - cut) < 16_000  # the rest still waits in the first server
    push(arrives, pcm[2 * ready.position :])
    arrives.send(END)
    received += read_all(arrives)
    assert not [message for message in received if isinstance(message, Gap)]
    assert numbers_of(received) == list(range(len(expected)))
    assert np.abs(probs_of(received) - expected).max() < CLOSE


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
def test_a_full_disk_stops_only_the_recording_and_a_signal_ends_every_stream(start: Start, tmp_path: Path) -> None:
    record = tmp_path / "all.jsonl"
    server = start("--json", "--top", "2", "--record", str(record))
    subscriber = server.connect("/")
    clients = [server.connect(f"/ingest/stream-{index}") for index in range(3)]

    def push_all(last_frame: int) -> None:
        for client in clients:
            client.send(as_pcm(tones(2)))
            until_frame(client, last_frame)

    for client in clients:
        begin(client)
    push_all(6)
    unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    push_all(14)
    while "cannot write" not in server.stderr_lines[-1]:
        assert server.process.stderr is not None
        server.stderr_lines.append(server.process.stderr.readline())
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    push_all(21)
    clients.pop().close()
    status, out, err = server.stop(signal.SIGTERM)
    assert status == 143, err
    for client in clients:
        assert isinstance(read_all(client)[-1], End)
        assert client.close_code == 1000
    published = read_all(subscriber)
    assert {m.stream for m in published if isinstance(m, End)} == {"stream-0", "stream-1", "stream-2"}
    assert subscriber.close_code == 1001
    lines = [parse(line) for line in out.splitlines()]
    assert isinstance(lines[0], Hello)
    assert sum(isinstance(line, End) for line in lines) == 3
    frames = [line for line in lines if isinstance(line, Frame)]
    assert len(frames) == 3 * 24
    assert all(len(frame.tags) == 2 for frame in frames)
    recorded = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]  # whole lines
    assert recorded[0]["type"] == "hello"
    assert [line["type"] for line in recorded].count("end") == 3  # it resumed
    assert 0 < [line["type"] for line in recorded].count("frame") < 3 * 24
    assert err.count("cannot write") == 1
    assert "could not be recorded" in err
    assert err.count(": ended after 0:06, 24 frames\n") == 3
    assert "streamtag: ending 3 streams\n" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nowhere.invalid:8765"], 1, "nowhere.invalid:8765: cannot be served: "),
        (["0", "--record", "/no/such/folder/F.jsonl"], 1, "F.jsonl"),
        (["0", "--max-streams", "0"], 2, "--max-streams"),
    ],
)
def test_a_mistake_is_one_clear_line(streamtag: Run, arguments: list[str], code: int, reason: str) -> None:
    answer = streamtag("serve", *arguments)
    assert answer.code == code
    assert reason in answer.err
    assert len(answer.err.splitlines()) == code  # wrong usage has a hint


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_on_a_terminal_the_streams_are_in_a_table_until_the_end(model: Path) -> None:
    import pty

    master, slave = pty.openpty()
    command = [*COMMAND, "serve", "0", "--max-streams", "8", "--device", "cpu"]
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "90", "LINES": "20"}
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
            assert isinstance(read_all(client)[-1], End)
        until("mic: ended after 0:03")
        assert process.wait(WAIT_S) == 130
        assert shown.rindex("\x1b[?25h") > shown.rindex("1 of 8 streams")  # the cursor is back
    finally:
        process.kill()
        process.wait()
        os.close(master)
