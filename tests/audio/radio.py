"""A web server of many stations: each plays one sound, again and again, at its own speed.

`python -m tests.audio.radio SOUND BYTES_PER_S` prints its port and plays until its standard input ends.
"""

from __future__ import annotations

import http.server
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tests.audio.rtsp_server import running

TICK_S = 0.1  # between two parts of a sound
BURST_S = 1.0  # of sound that a new listener gets at once


class Radio(http.server.ThreadingHTTPServer):
    """Every path is a station. off: names that answer 404, and whose listeners are sent away. noisy: names that send
    what is no sound. plays_once: all send the sound once and end. announces_length: they say so, as for a file.
    connections: how often each name was asked for."""

    daemon_threads = True
    plays_once = announces_length = False

    def __init__(self, sound: bytes, bytes_per_s: float, off: Collection[str] = (), noisy: Collection[str] = ()):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sound, self.bytes_per_s = sound, bytes_per_s
        self.off, self.noisy = set(off), frozenset(noisy)
        self.connections: dict[str, int] = {}

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Radio

    def do_GET(self) -> None:
        radio, name = self.server, self.path.strip("/")
        radio.connections[name] = radio.connections.get(name, 0) + 1
        if name in radio.off:
            self.send_error(404)
            return
        self.send_response(200)
        if radio.announces_length:
            self.send_header("Content-Length", str(len(radio.sound)))
        self.end_headers()
        if radio.plays_once:
            self.wfile.write(radio.sound)
            return
        if name in radio.noisy:
            self.wfile.write(b"<p>no sound</p>" * 1000)
            return
        begin, sent, sound = time.monotonic() - BURST_S, 0, radio.sound
        try:
            while name not in radio.off:
                due = round((time.monotonic() - begin) * radio.bytes_per_s)
                while sent < due:
                    start = sent % len(sound)
                    self.wfile.write(part := sound[start : start + due - sent])
                    sent += len(part)
                time.sleep(TICK_S)
        except OSError:  # the listener has gone
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(path: str, bytes_per_s: str) -> None:
    with running(Radio(Path(path).read_bytes(), float(bytes_per_s))) as radio:
        print(radio.server_port, flush=True)
        with suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
