"""Opens the container of an input with FFmpeg (PyAV), and explains in plain words why that failed.

A file may ask FFmpeg to open further ones (playlists, concatenations). Files and standard input must not: FFmpeg gets
only their bytes and no protocol at all. A URL may lead to others of its own kind, as web radio does, never to local
files or devices, nor from the web into another protocol.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer

from streamtag.audio.files import Address
from streamtag.errors import SourceError
from streamtag.text import describe_os_error

PIPE_HINT = " (some formats cannot be read from a pipe: give the file itself)"

_NO_PROTOCOL = "none"  # an empty list would mean: all
_WEB_PROTOCOLS = "http,https,tcp,tls,crypto"
_RTSP_PROTOCOLS = "rtsp,rtsps,tcp,tls,rtp,srtp,udp"
_PROTOCOLS = {  # the whitelist of each scheme: itself, and what it is built upon
    "http": _WEB_PROTOCOLS,
    "https": _WEB_PROTOCOLS,
    "rtsp": _RTSP_PROTOCOLS,
    "rtsps": _RTSP_PROTOCOLS,
    "srt": "srt",
    "rtmp": "rtmp,tcp",
}
_LIVE_PROBE = "65536"  # bytes; FFmpeg's own choice delays a live WAV by 5 s, or 25 s at 16 kHz
_BUFFER_SIZE = 1 << 17  # bytes of a read; larger than PyAV's 32 KiB, since every read calls Python


def open_container(
    address: Address, open_timeout_s: float, read_timeout_s: float, resources: ExitStack
) -> InputContainer:
    """Return the open container; whatever must be closed with it is pushed to `resources`. Raises SourceError."""
    if address.kind == "url":
        return _open_url(address, open_timeout_s, read_timeout_s, resources)
    stream = ByteStream(standard_input() if address.kind == "pipe" else _open_file(address, resources), address.suffix)
    options = {"protocol_whitelist": _NO_PROTOCOL}
    if not stream.seekable():
        options["probesize"] = _LIVE_PROBE
    try:
        container = av.open(stream, "r", options=options, buffer_size=_BUFFER_SIZE, metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(f"{address.label}: {_describe_stream_error(error, stream)}") from None
    return resources.enter_context(container)


def describe_read_error(error: Exception, read_timeout_s: float) -> str:
    """Return why reading broke off, in words."""
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return f"nothing came for {read_timeout_s:g} s"
    return describe_os_error(error)


class ByteStream:
    """A binary file as FFmpeg needs it: a read returns what is there, a seek that fails returns -1."""

    def __init__(self, file: BinaryIO, suffix: str = "") -> None:
        # FFmpeg knows a few bare formats by their suffix alone; the rest of a name it might take for a pattern
        self.name = f"sound{suffix}"
        self.received = 0  # bytes
        self._file = file
        self._read: Callable[[int], bytes | None] = getattr(file, "read1", file.read)

    def read(self, size: int) -> bytes:
        data = self._read(size) or b""
        self.received += len(data)
        return data

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def tell(self) -> int:
        return self._file.tell()


def standard_input() -> BinaryIO:
    """Return standard input, unbuffered. Raises SourceError if there is none, or it is a terminal."""
    file: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if file is None or file.closed:
        raise SourceError("standard input: there is none")
    if file.isatty():
        raise SourceError("standard input: is a terminal: pipe or redirect a sound into it")
    raw: BinaryIO = getattr(file, "raw", file)  # a buffer's lock, held while a read stalls, would abort Python's exit
    return raw


def _open_file(address: Address, resources: ExitStack) -> BinaryIO:
    reason = "is empty"
    try:
        file = resources.enter_context(Path(address.where).open("rb", buffering=0))  # noqa: SIM115
        if not file.seekable():
            return file
        if file.read(1):
            file.seek(0)
            return file
    except FileNotFoundError:
        reason = "no such file"
    except IsADirectoryError:
        reason = "is a folder, not an audio file"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = describe_os_error(error)
    raise SourceError(f"{address.label}: {reason}")


def _open_url(address: Address, open_timeout_s: float, read_timeout_s: float, resources: ExitStack) -> InputContainer:
    options = {"protocol_whitelist": _PROTOCOLS[address.scheme]}
    if address.scheme in ("rtsp", "rtsps"):
        options["rtsp_flags"] = "prefer_tcp"  # else a firewall costs seconds of waiting for datagrams
    timeouts = (open_timeout_s, read_timeout_s)
    try:
        container = av.open(address.where, "r", options=options, metadata_errors="replace", timeout=timeouts)
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(f"{address.label}: {_describe_url_error(error, address, open_timeout_s)}") from None
    return resources.enter_context(container)


def _describe_stream_error(error: Exception, stream: ByteStream) -> str:
    if not stream.received:
        is_empty = not isinstance(error, OSError) or stream.seekable()
        return "is empty" if is_empty else describe_os_error(error)
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError, av.error.ArgumentError)):
        hint = "" if stream.seekable() else PIPE_HINT
        return f"not an audio file: FFmpeg finds no sound it knows{hint}"
    return describe_os_error(error)


def _describe_url_error(error: Exception, address: Address, timeout_s: float) -> str:
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
        return "not audio: FFmpeg finds no sound it knows in what the server sends"
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, av.error.HTTPError | av.error.HTTPClientError):
        return describe_os_error(error)
    if isinstance(error, av.error.ProtocolNotFoundError):
        return f"this build of FFmpeg cannot read {address.scheme}:// addresses"
    return f"cannot be reached: {_describe_connection_error(error, address)}"


def _describe_connection_error(error: Exception, address: Address) -> str:
    """FFmpeg reports "input/output error" for an unknown host as for a server that cannot seek."""
    if not (isinstance(error, OSError) and type(error) is av.error.OSError):
        return describe_os_error(error)
    try:
        socket.getaddrinfo(urlsplit(address.where).hostname, None)
    except OSError:
        return "no such host"
    return "the connection broke, or this kind of file needs a server that can serve parts of it"
