"""Raw PCM on standard input, as `arecord`, `ffmpeg -f s16le` or `sox` write it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import BinaryIO

from streamtag.audio.container import standard_input
from streamtag.audio.pcm import PcmDecoder, PcmFormat
from streamtag.audio.resample import AudioTap, CaptureResampler
from streamtag.audio.ring import Block
from streamtag.audio.source import AudioSource, CaptureEvent, SourceNotice
from streamtag.audio.threaded import ThreadedIterator
from streamtag.errors import SourceError
from streamtag.text import plural

MAX_READ_S = 0.1  # of audio; a read returns what is there
MAX_WAITING_READS = 64  # then the writer of the pipe waits, and nothing is lost
MAX_JOINED_READS = 10  # that become one chunk


class PcmPipe(AudioSource):
    """A source that ends where its input does."""

    def __init__(self, format: PcmFormat, tap: AudioTap | None = None, file: BinaryIO | None = None) -> None:
        """file: unbuffered; None: standard input. Raises SourceError if there is none, or it is a terminal."""
        description = f"standard input, {format.encoding}, {format.rate} Hz, {plural(format.channels, 'channel')}"
        super().__init__("stdin", description)
        self._file = standard_input() if file is None else file
        self._decoder = PcmDecoder(format)
        self._resampler = CaptureResampler(format.rate, tap)
        self._is_empty = True
        self._reads = ThreadedIterator(self._read(), MAX_WAITING_READS, "streamtag-stdin")

    def close(self) -> None:
        self._reads.close()

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        parts: list[bytes] = []
        arrival_time = 0.0
        while len(parts) < MAX_JOINED_READS and (read := self._reads.get(0 if parts else timeout_s)) is not None:
            parts.append(read[0])
            arrival_time = read[1]
        samples = self._decoder.decode(b"".join(parts))
        events: list[CaptureEvent] = []
        if len(samples):
            self._is_empty = False
            events = self._resampler.feed(Block(samples, arrival_time))
        if not self._reads.has_ended or (self._reads.error is not None and parts):
            return events  # an error is raised by the next call, behind the samples before it
        self._has_ended = True
        if self._reads.error is not None:
            raise SourceError(f"standard input: broke off: {self._reads.error}") from None
        return events + self._finish()

    def _finish(self) -> list[CaptureEvent]:
        """Raises SourceError if there was not one sample."""
        if self._is_empty:
            raise SourceError("standard input: is empty")
        events = self._resampler.flush()
        if pending := len(self._decoder.pending):
            text = f"the last {pending} bytes of standard input are no whole sample: are --rate, --format"
            events.append(SourceNotice(f"{text} and --channels right?", is_problem=False))
        if repaired := self._resampler.repaired:
            text = f"{repaired} samples were no finite numbers, and count as 0"
            events.append(SourceNotice(text, is_problem=False))
        return events

    def _read(self) -> Generator[tuple[bytes, float], None, None]:
        """The body of the thread."""
        format = self._decoder.format
        size = max(1, round(MAX_READ_S * format.rate)) * format.sample_bytes
        while data := self._file.read(size):
            yield data, time.monotonic()
