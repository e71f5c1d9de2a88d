"""The examples that receive tags, as processes of their own, beside a real server and a real sender."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamtag.protocol.messages import Error, Event, Frame, Gap, Hello
from streamtag.protocol.selection import Selection
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.osc import OscSink, OscTarget

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TAGS = ("guitar", "female vocal", "harp", "drums")
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * 4)


@contextmanager
def _started(example: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_the_subscriber_prints_frames_and_events_until_the_server_ends() -> None:
    tags = dict(zip(TAGS, (0.25, 0.9, 0.015, 0.5), strict=True))
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        server.publish(Frame("mic", 12, 2.816, 3.328, tags))  # whoever comes later gets it at once
        with _started("subscriber.py", server.address.replace("http", "ws")) as process:
            assert _line(process) == "mic     3.33 s  female vocal 90%  drums 50%  guitar 25%"
            server.publish(Gap("mic", 3.0, 0.5))
            server.publish(Event("mic", "harp", "on", 3.584))
            assert _line(process) == "mic     3.58 s  harp on"
            server.__exit__(None, None, None)
            out, err = process.communicate(timeout=20)
            assert (process.returncode, out, err) == (0, "", "")


def test_the_osc_receiver_prints_the_strongest_tag_and_events() -> None:
    with _started("osc_receiver.py", "0") as process:
        port = int(_line(process).removeprefix("listening on port "))
        selection = Selection.of(TAGS, (0.5,) * 4)
        with OscSink(OscTarget("127.0.0.1", port), selection) as osc:
            osc.write(Frame("mic", 12, 2.816, 3.328, dict(zip(TAGS, (0.25, 0.9, 0.015, 0.5), strict=True))))
            assert _line(process) == "mic     3.07 s  female_vocal 90%"
            osc.write(Event("mic", "female vocal", "off", 3.584))
            assert _line(process) == "mic     3.58 s  female vocal off"
            osc.write(Gap("mic", 4.0, 0.5))
            assert _line(process) == "/streamtag/gap mic 4.0 0.5"
            osc.write(Error("unplugged", "mic"))
            assert _line(process) == "/streamtag/error mic unplugged"
            osc.write(Frame("mic", 20, 4.864, 5.376, dict(zip(TAGS, (0.625, 0.25, 0.015, 0.5), strict=True))))
            assert _line(process) == "mic     5.12 s  guitar 62%"


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with _started("osc_receiver.py", "0") as first:
        port = _line(first).removeprefix("listening on port ")
        with _started("osc_receiver.py", port) as second:
            assert second.communicate(timeout=20) == ("", f"port {port}: Address already in use\n")
            assert second.returncode == 1


def test_the_osc_receiver_ends_quietly_when_it_is_interrupted() -> None:
    with _started("osc_receiver.py", "0") as process:
        assert _line(process).startswith("listening on port ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 130
