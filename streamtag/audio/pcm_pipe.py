"""Bare samples on standard input, as `arecord`, `ffmpeg -f s16le` or `sox` write them."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import BinaryIO

import numpy as np

from streamtag.audio.container import standard_input
from streamtag.audio.pcm import PcmDecoder, PcmFormat
from streamtag.audio.resample import AudioTap, CaptureResampler
from streamtag.audio.ring import Block
from streamtag.audio.source import AudioChunk, CaptureEvent, Closing, SourceNotice
from streamtag.errors import SourceError
from streamtag.text import plural

READ_S = 0.1  # s of sound a read at most; a read gives what is there already
DEPTH = 64  # reads that wait for the taker; then whoever writes into the pipe waits too, and nothing is lost
MOST = 10  # reads that are given out as one piece
WAIT_S = 0.1  # s; how often the reader looks whether anybody still wants it
FAREWELL_S = 0.5  # s; how long closing waits for a reader that may be stalled

_NOTHING = np.zeros(0, np.float32)


class PcmPipe(Closing):
    """A Capture. It ends where its input does."""

    def __init__(self, spec: PcmFormat, tap: AudioTap | None = None, file: BinaryIO | None = None) -> None:
        """file: unbuffered; standard input if None. Raises SourceError if that is none, or a terminal."""
        self._spec = spec
        self._file = standard_input() if file is None else file
        self._pieces: deque[CaptureEvent] = deque()
        self._intake = CaptureResampler(spec.rate, self._pieces, tap)
        self._ready: queue.Queue[tuple[bytes, float] | Exception | None] = queue.Queue(DEPTH)
        self._decoder = PcmDecoder(spec)
        self._heard = False
        self._ended = False
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="streamtag-stdin", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return "stdin"

    @property
    def description(self) -> str:
        channels = plural(self._spec.channels, "channel")
        return f"standard input, {self._spec.encoding}, {self._spec.rate} Hz, {channels}"

    @property
    def xruns(self) -> int:
        return 0

    @property
    def latency_s(self) -> float:
        return 0.0

    def read(self, timeout_s: float) -> CaptureEvent | None:
        """Raises SourceError if the input is empty, or reading fails."""
        until = time.monotonic() + timeout_s
        while not self._pieces:
            if self._ended:
                self._raise_failure()
                return None
            if not self._look(until - time.monotonic()):
                return AudioChunk(_NOTHING, time.monotonic())
        return self._pieces.popleft()

    def close(self) -> None:
        """Ends the reader; one that waits for a stalled pipe ends when that gives it something."""
        self._closed.set()
        self._thread.join(FAREWELL_S)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise SourceError(f"standard input: broke off: {failure}") from None

    def _look(self, wait_s: float) -> bool:
        """All reads that wait, up to MOST of them, as one. -> False if none came in time."""
        parts, newest = [b""], 0.0
        while len(parts) <= MOST:
            try:
                item = self._ready.get(block=len(parts) == 1, timeout=max(0.0, wait_s))
            except queue.Empty:
                break
            if not isinstance(item, tuple):
                self._take(b"".join(parts), newest)
                self._end(item)
                return True
            parts.append(item[0])
            newest = item[1]
        self._take(b"".join(parts), newest)
        return len(parts) > 1

    def _take(self, data: bytes, arrived: float) -> None:
        samples = self._decoder.decode(data)
        if len(samples):
            self._heard = True
            self._intake.take(Block(samples, arrived))

    def _end(self, failure: Exception | None) -> None:
        self._ended, self._failure = True, failure
        if failure is not None:
            return
        if not self._heard:
            raise SourceError("standard input: is empty")
        self._intake.flush()
        if pending := len(self._decoder.pending):
            text = f"the last {pending} bytes of standard input are no whole sample: are --rate, --format"
            self._pieces.append(SourceNotice(f"{text} and --channels right?", is_problem=False))
        if self._intake.repaired:
            text = f"{self._intake.repaired} samples were no finite numbers, and count as 0"
            self._pieces.append(SourceNotice(text, is_problem=False))

    def _read(self) -> None:
        size = max(1, round(READ_S * self._spec.rate)) * self._spec.sample_bytes
        end: Exception | None = None
        try:
            while not self._closed.is_set() and (data := self._file.read(size)):
                self._put((data, time.monotonic()))
        except (OSError, ValueError) as error:  # raised again by read, in its place
            end = error
        self._put(end)

    def _put(self, item: tuple[bytes, float] | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=WAIT_S)
            except queue.Full:
                continue
            return
