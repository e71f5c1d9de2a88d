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
from tests.cli.serve_process import END, WAIT_S, Serve, Start, as_pcm, begin, tones, until_frame
from tests.cli.serve_process import started as servers
from tests.examples.conftest import read_line, run, started
from tests.server.support import read, read_all
from tests.wav import write_wav

TAGS = ("guitar", "female vocal", "harp", "drums")
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * 4)
PROBS = dict(zip(TAGS, (0.25, 0.9, 0.015, 0.5), strict=True))


@pytest.fixture
def long_song(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "a long song.wav", tones(60), 16000)


@pytest.fixture(scope="module")
def start(model: Path) -> Iterator[Start]:
    """Return a function that starts `streamtag serve` with the small model."""
    with servers(model) as start:
        yield start


@pytest.fixture(scope="module")
def server(start: Start) -> Serve:
    """Return a server that all tests share."""
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
    """Run the producer until its first frame has come back."""
    with started("producer.py", path, url) as process:
        assert read_line(process).startswith("frame     0.26 s  ")
        yield process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and standard error."""
    assert process.stderr is not None
    error = process.stderr.read()
    return process.wait(WAIT_S), error


def test_a_producer_whose_output_nobody_reads_says_so(server: Serve, long_song: Path) -> None:
    with sending(long_song, f"{server.address}/ingest/a") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert ended(process) == (1, "nobody reads standard output any more\n")


@pytest.mark.slow
def test_a_producer_whose_server_is_killed_says_so(start: Start, long_song: Path) -> None:
    killed = start()
    url = f"{killed.address}/ingest/a"
    with sending(long_song, url) as process:
        killed.stop(signal.SIGKILL)
        assert ended(process) == (1, f"{url}: connection lost\n")


def test_an_interrupted_producer_ends_quietly(server: Serve, long_song: Path) -> None:
    with sending(long_song, f"{server.address}/ingest/b") as process:
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "")


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


@pytest.mark.slow
def test_a_moved_stream_continues_at_the_printed_position(start: Start, server: Serve) -> None:
    first, second = server, start()
    pcm = as_pcm(tones(6))
    producer = first.connect("/ingest/mic")
    begin(producer)
    producer.send(pcm[: 2 * 48_000])
    until_frame(producer, 10)
    urls = [each.address.replace("ws", "http", 1) for each in (first, second)]
    done = run("move_a_stream.py", "mic", *urls)
    assert done.stderr == ""
    moved = re.fullmatch(r"mic: \d+ KiB moved; it continues at (ws://\S+)\?position=(\d+)\n", done.stdout)
    assert moved is not None
    assert moved[1] == f"{second.address}/ingest/mic"
    position = int(moved[2])
    continued = second.connect(f"/ingest/mic?position={position}")
    assert begin(continued) == position
    continued.send(pcm[2 * position :])
    continued.send(END)
    frames = [message.to_dict()["frame"] for message in read_all(continued) if message.type == "frame"]
    assert frames == list(range(11, 24))
    again = run("move_a_stream.py", "nobody", *urls)
    assert (again.returncode, again.stderr) == (1, "nobody: there is no stream of that name\n")


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
