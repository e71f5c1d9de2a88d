"""A server for `streamtag watch`, whose streams go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streamtag.protocol.messages import Frame, Hello
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.cli.conftest import TIMEOUT_S

HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp", "rock"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1, 0.5))


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
