"""`streamtag watch` as a program of its own, against the real server."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace

import pytest

from streamtag.cli.watch_view import missing_stream
from streamtag.client.address import ServerAddress
from streamtag.protocol.messages import End, Error, Event, Gap, Hello, Message
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.cli.conftest import TIMEOUT_S, Run, StartProgram, pipe, read_lines, read_rest
from tests.cli.watch_server import HELLO, make_frame, on_air


def test_json_lines_are_the_messages_of_the_server_until_a_signal(program: StartProgram) -> None:
    messages: list[Message] = [
        make_frame(1, "mic"),
        Event("mic", "guitar", "on", 0.25),
        Gap("mic", 0.5, 1.5),
        Error("unplugged", "mic"),
        End("mic", 2.0, 1, {"guitar": 0.5}),
    ]
    with ServerThread(ServerConfig(port=0, token="secret"), HELLO) as server:
        process = program("watch", server.address, "--json", "--token", "secret")
        assert read_lines(process, 1) == [replace(HELLO, streams=()).to_json()]
        for message in messages:
            server.publish(message)
        assert read_lines(process, len(messages)) == [message.to_json() for message in messages]
        process.send_signal(signal.SIGTERM)
        out, err = read_rest(process)
    assert (process.returncode, out, err.count("\n"), "watched for 0:0" in err) == (143, "", 1, True)


def test_top_and_tags_filter_the_messages_and_for_ends_it_with_a_summary(streamtag: Run) -> None:
    with on_air("mic") as server:
        answer = streamtag(
            *["watch", "--json", "--tags", "harp,ROCK", "--top", "1", "--for", "1"], server.address, small=False
        )
        label = server.address.replace("http", "ws")
    messages = [json.loads(line) for line in answer.lines]
    assert answer.code == 0
    assert [message["type"] for message in messages[:3]] == ["hello", "frame", "frame"]
    assert {tuple(message["tags"].items()) for message in messages[1:]} == {(("harp", 0.45),)}
    assert messages[1]["latency_s"] == 0.4
    assert re.fullmatch(rf"streamtag: {re.escape(label)}: watched for 0:01: \d+ frames\n", answer.err)


def test_a_pipe_gets_lines(streamtag: Run) -> None:
    with on_air("mic", "song.mp3") as server:
        url = f"{server.address}streams/mic"
        one = streamtag("watch", url, "--top", "2", "--for", "0.5", small=False).lines
        several = streamtag("watch", server.address, "--top", "1", "--for", "0.5", small=False).lines
    assert len(one) > 2
    assert all(re.fullmatch(r"\d+:\d\d  guitar 0\.90  harp 0\.45", line) for line in one)
    assert all(re.fullmatch(r"(mic|song\.mp3)  \d+:\d\d  guitar 0\.90", line) for line in several)
    assert {line.split()[0] for line in several} == {"mic", "song.mp3"}


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--token", "wrong"), 1, "the server refuses (HTTP 401)"),
        (("--token", "secret", "--tags", "guitr"), 2, "guitr: not a tag of this model (did you mean 'guitar'?)"),
    ],
)
def test_a_mistake_is_one_line_and_an_error_message(
    streamtag: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    with on_air("mic", token="secret") as server:
        answer = streamtag("watch", server.address, "--json", *arguments, small=False)
    assert answer.code == code
    assert answer.err.startswith("streamtag")
    assert answer.err.count("\n") == code  # wrong usage has a hint
    assert reason in answer.err
    assert reason in json.loads(answer.lines[-1])["message"]
    assert "secret" not in answer.err


@pytest.mark.parametrize(
    ("path", "running", "notice"),
    [
        ("/streams/mic", ("hall 2", "mic"), None),
        ("/streams/my%20mic", (), "my mic: no such stream now, there is none; waiting for it"),
        ("/streams/x", ("hall 2", "mic"), "x: no such stream now, there are hall 2, mic; waiting for it"),
        (
            "/streams/x",
            tuple("abcdefghij"),
            "x: no such stream now, there are a, b, c, d, e, f, g, h, and 2 more; waiting for it",
        ),
    ],
)
def test_a_stream_that_does_not_run(path: str, running: tuple[str, ...], notice: str | None) -> None:
    assert missing_stream(ServerAddress.parse(f"8765{path}"), replace(HELLO, streams=running)) == notice
    assert missing_stream(ServerAddress.parse(f"8765{path}"), HELLO) is None  # a server that does not say


def test_a_missing_stream_is_reported_and_the_address_needs_no_scheme(streamtag: Run) -> None:
    with on_air("mic") as server:
        address = server.address.removeprefix("http://127.0.0.1:")
        answer = streamtag("watch", f"{address}streams/nobody", "--for", "0.5", small=False)
    assert answer.code == 0
    assert answer.err.startswith("streamtag: nobody: no such stream now, there ")


def test_a_closed_pipe_ends_it_quietly(program: StartProgram) -> None:
    with on_air("mic") as server:
        process = program("watch", server.address, "--json")
        read_lines(process, 2)
        pipe(process.stdout).close()
        assert process.wait(TIMEOUT_S) == 141
        assert pipe(process.stderr).read() == ""


def test_it_continues_when_the_server_returns_even_with_another_model(program: StartProgram) -> None:
    with on_air("mic") as server:
        port = int(server.address.rstrip("/").rpartition(":")[2])
        process = program("watch", server.address)
        assert "guitar" in read_lines(process, 1)[0]
    assert "the connection was closed (1001" in pipe(process.stderr).readline()
    other = Hello("streamtag 0.2.0", "other", ("piano", "flute"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1))
    with on_air("mic", port=port, hello=other):
        lines = iter(lambda: read_lines(process, 1)[0], "")
        assert any("piano 0.90" in line for line in lines)
        process.send_signal(signal.SIGINT)
        _, err = read_rest(process)
    assert ": connected\n" in err
