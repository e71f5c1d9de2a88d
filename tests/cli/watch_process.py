"""`streamtag watch` as processes of their own, and a server for them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from streamtag.protocol.messages import Frame, Hello
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.cli.conftest import COMMAND, pipe

TIMEOUT_S = 60.0
HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp", "rock"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1, 0.5))
Start = Callable[..., subprocess.Popen[str]]


def make_frame(number: int, stream: str, tags: tuple[str, ...] = HELLO.tags) -> Frame:
    probs = {tag: round(0.9 / (1 + place), 4) for place, tag in enumerate(tags)}
    return Frame(stream, number, 0.25 * number - 0.25, 0.25 * number + 0.25, probs, 0.4)


@contextmanager
def on_air(*streams: str, port: int = 0, hello: Hello = HELLO, **settings: Any) -> Iterator[ServerThread]:
    """A server whose streams go on, ten times as fast as sound would."""
    over = threading.Event()

    def play() -> None:
        number = 0
        while not over.wait(0.025):
            for stream in streams:
                server.publish(make_frame(number, stream, hello.tags))
            number += 1

    with ServerThread(ServerConfig(port=port, **settings), hello) as server:
        player = threading.Thread(target=play)
        player.start()
        try:
            yield server
        finally:
            over.set()
            player.join(TIMEOUT_S)


@contextmanager
def watching() -> Iterator[Start]:
    """start(*arguments) -> `streamtag watch`, ended with the block."""
    with ExitStack() as stack:

        def start(*arguments: str, **others: Any) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen([*COMMAND, "watch", *arguments], text=True, **{**pipes, **others})

            watchdog = threading.Timer(TIMEOUT_S, process.kill)  # so that no test waits for a line for ever
            watchdog.start()

            def close() -> None:
                watchdog.cancel()
                process.kill()
                process.communicate()

            stack.callback(close)
            return process

        yield start


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    return [pipe(process.stdout).readline().rstrip("\n") for _ in range(count)]
