"""The examples that talk to servers, beside real ones."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamtag.protocol.messages import Error, Event, Frame, Gap, Hello
from streamtag.protocol.selection import Selection
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.osc import OscSink, OscTarget
from tests.cli.serve_process import WAIT_S, Serve, Start, tones
from tests.cli.serve_process import started as servers
from tests.examples.conftest import read_line, run, started
from tests.server.support import read
from tests.wav import write_wav

TAGS = ("guitar", "female vocal", "harp", "drums")
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * 4)
PROBS = dict(zip(TAGS, (0.25, 0.9, 0.015, 0.5), strict=True))


@pytest.fixture
def long_song(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "a long song.wav", tones(60), 16000)


@pytest.fixture(scope="module")
def start(model: Path) -> Iterator[Start]:
    with servers(model) as start:
        yield start


@pytest.fixture(scope="module")
def server(start: Start) -> Serve:
    return start()


def test_the_producer_sends_a_file_and_prints_its_tags(server: Serve, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a song.wav", tones(3, 44100), 44100)
    watcher = server.connect("/streams/a%20song.wav?top=3")
    done = run("producer.py", path, f"{server.address}/ingest/a%20song.wav")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["frame"] * 12 + ["end"]
    assert re.fullmatch(r"frame  +0\.26 s  .+ [01]\.\d\d  .+ [01]\.\d\d  .+ [01]\.\d\d", lines[0])
    assert lines[-1].startswith("end       3.00 s  ")
    assert read(watcher).type == "hello"
    refused = run("producer.py", path, f"{server.address}/ingest/a%2Fb")
    assert refused.returncode == 1
    assert refused.stderr.startswith("a stream's name ")


@contextmanager
def sending(path: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    with started("producer.py", path, url) as process:
        assert read_line(process).startswith("frame     0.26 s  ")
        yield process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stderr is not None
    error = process.stderr.read()
    return process.wait(WAIT_S), error


def test_a_producer_that_is_interrupted_or_whose_output_nobody_reads_ends(server: Serve, long_song: Path) -> None:
    with sending(long_song, f"{server.address}/ingest/a") as unread:
        assert unread.stdout is not None
        unread.stdout.close()
        with sending(long_song, f"{server.address}/ingest/b") as interrupted:
            interrupted.send_signal(signal.SIGINT)
            assert ended(interrupted) == (130, "")
        assert ended(unread) == (1, "nobody reads standard output any more\n")


@pytest.mark.slow
def test_a_producer_whose_server_is_killed_says_so(start: Start, long_song: Path) -> None:
    killed = start()
    url = f"{killed.address}/ingest/a"
    with sending(long_song, url) as process:
        killed.stop(signal.SIGKILL)
        assert ended(process) == (1, f"{url}: connection lost\n")


@pytest.mark.parametrize(
    ("example", "arguments", "message"),
    [
        ("producer.py", ["no.mp3"], "no.mp3: No such file or directory"),
        ("producer.py", ["SONG", "ws://127.0.0.1:9/ingest/a"], "ws://127.0.0.1:9/ingest/a: Connection refused"),
        ("subscriber.py", ["ws://127.0.0.1:9/"], "ws://127.0.0.1:9/: Connection refused"),
        ("move_a_stream.py", ["mic", "http://127.0.0.1:9", "http://127.0.0.1:9"], "http://127.0.0.1:9: "),
    ],
)
def test_a_mistake_is_reported_in_one_line(example: str, arguments: list[str], message: str, long_song: Path) -> None:
    done = run(example, *(long_song if argument == "SONG" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_the_subscriber_prints_frames_and_events_until_the_server_ends() -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        server.publish(Frame("mic", 12, 2.816, 3.328, PROBS))  # later subscribers get it at once
        with started("subscriber.py", server.address.replace("http", "ws")) as process:
            assert read_line(process) == "mic     3.33 s  female vocal 0.90  drums 0.50  guitar 0.25"
            server.publish(Gap("mic", 3.0, 0.5))
            server.publish(Event("mic", "harp", "on", 3.584))
            assert read_line(process) == "mic     3.58 s  harp on"
            server.__exit__(None, None, None)
            assert process.communicate(timeout=20) == ("", "")
            assert process.returncode == 0


def test_the_osc_receiver_prints_the_strongest_tag_and_events_until_it_is_interrupted() -> None:
    with started("osc_receiver.py", "0") as process:
        port = read_line(process).removeprefix("listening on port ")
        taken = run("osc_receiver.py", port)
        assert (taken.returncode, taken.stderr) == (1, f"port {port}: Address already in use\n")
        with OscSink(OscTarget("127.0.0.1", int(port)), Selection.of(TAGS, (0.5,) * 4)) as osc:
            osc.write(Frame("mic", 12, 2.816, 3.328, PROBS))
            assert read_line(process) == "mic     3.07 s  female_vocal 0.90"
            osc.write(Event("mic", "female vocal", "off", 3.584))
            assert read_line(process) == "mic     3.58 s  female vocal off"
            osc.write(Gap("mic", 4.0, 0.5))
            assert read_line(process) == "/streamtag/gap mic 4.0 0.5"
            osc.write(Error("unplugged", "mic"))
            assert read_line(process) == "/streamtag/error mic unplugged"
            osc.write(Frame("mic", 20, 4.864, 5.376, PROBS | {"female vocal": 0.25, "guitar": 0.625}))
            assert read_line(process) == "mic     5.12 s  guitar 0.62"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 130
