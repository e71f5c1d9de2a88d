"""Audio on web servers: good, missing, stalling and hostile ones. All servers are local."""

from __future__ import annotations

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from streamtag.audio.decoder import SourceSpec, open_source
from streamtag.errors import SourceError
from tests.audio.rtsp_server import RtspServer, rtsp_server, running
from tests.sounds import Encode, Tone

QUICK = SourceSpec(open_timeout_s=0.5, read_timeout_s=0.5)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; /away redirects to a local file."""

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"file://{self.directory}/song.mp3")
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/song.mp3")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def rtsp() -> Iterator[RtspServer]:
    with rtsp_server() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, encode: Encode, tone: Tone, rtsp: RtspServer) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    encode(folder / "song.mp3", tone(2, 44100), 44100, "libmp3lame")
    encode(folder / "part.ts", tone(2, 44100), 44100, "aac")
    (folder / "text.mp3").write_text("no music\n" * 999)
    local = f"file://{folder}/part.ts"
    for name, target in (("radio", "part.ts"), ("hostile", local), ("device", "/dev/zero"), ("rtsp", rtsp.address)):
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"
        (folder / f"{name}.m3u8").write_text(text)
    for name, target in (("hostile", f"file:{folder}/part.ts"), ("rtsp", rtsp.address)):
        (folder / f"{name}.ffconcat").write_text(f"ffconcat version 1.0\nfile '{target}'\n")
    handler = functools.partial(Handler, directory=str(folder))
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def talker(data: bytes) -> Iterator[str]:
    """A server that accepts, says `data`, and then nothing more: neither an answer nor an end."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(data)
            done.wait()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/live.mp3"
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("page", ["song.mp3", "moved", "radio.m3u8"])
def test_a_file_a_redirection_and_a_playlist_are_read(site: str, page: str) -> None:
    with open_source(f"{site}/{page}") as source:
        assert source.info.name == page
        assert sum(len(chunk) for chunk in source) / 16000 == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    "page", ["away", "hostile.m3u8", "device.m3u8", "hostile.ffconcat", "rtsp.m3u8", "rtsp.ffconcat"]
)
def test_a_server_cannot_lead_to_local_files_or_other_protocols(site: str, page: str, rtsp: RtspServer) -> None:
    refused = pytest.raises(SourceError, match=f"^{site}/{page}: ")
    with refused, open_source(f"{site}/{page}", QUICK) as source:
        list(source)
    assert rtsp.connections == 0


@pytest.mark.parametrize(("page", "reason"), [("text.mp3", "not audio"), ("missing.mp3", ".*404")])
def test_a_page_that_is_no_sound_is_an_error(site: str, page: str, reason: str) -> None:
    with pytest.raises(SourceError, match=f"{page}: {reason}"):
        open_source(f"{site}/{page}")


def test_a_missing_server_is_an_error_without_the_password() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceError, match=r"^http://127.0.0.1:[0-9]+/x.mp3: cannot be reached: connection refused$"):
        open_source(f"http://me:secret@127.0.0.1:{port}/x.mp3")


def test_a_server_that_never_answers_is_an_error() -> None:
    with talker(b"") as address, pytest.raises(SourceError, match=r"live.mp3: no answer within 0.5 s$"):
        open_source(address, QUICK)


def test_a_server_that_falls_silent_is_an_error_behind_its_samples(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    body = encode(tmp_path / "a.mp3", tone(20, 44100), 44100, "libmp3lame").read_bytes()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n"
    lengths: list[int] = []
    with talker(head + body[: len(body) // 2]) as address, open_source(address, QUICK) as source:
        chunks = iter(source)
        with pytest.raises(SourceError, match=r"live.mp3: broke off: nothing came for 0.5 s$"):
            lengths.extend(len(chunk) for chunk in chunks)
    assert 5 * 16000 < sum(lengths) <= 10.1 * 16000  # what came before is not lost
