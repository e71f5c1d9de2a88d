"""Raw PCM: the formats that can be read, and bytes decoded into samples. The only place that knows either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError

Encoding = Literal["s16le", "f32le"]  # signed 16-bit or 32-bit floating point, little-endian
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 384_000  # Hz; no sound card goes further
MAX_CHANNELS = 64
MAX_NUMBER_LENGTH = 15  # digits of a number in text


@dataclass(frozen=True)
class PcmFormat:
    """A format of raw PCM: the sample rate in Hz, the encoding and the number of interleaved channels.

    Raises SpecError for what cannot be read.
    """

    rate: int = 16000
    encoding: Encoding = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        _check_range("rate", self.rate, MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
        _check_range("channels", self.channels, 1, MAX_CHANNELS)
        if self.encoding not in ENCODINGS:
            raise SpecError(f"format must be {' or '.join(ENCODINGS)}, not {self.encoding!r}")

    @classmethod
    def parse(cls, rate: str, encoding: str, channels: str, max_channels: int = MAX_CHANNELS) -> Self:
        """Return the format that text describes, as in the query of a URL. Raises SpecError."""
        count = parse_whole_number("channels", channels)
        _check_range("channels", count, 1, max_channels)
        return cls(parse_whole_number("rate", rate), cast(Encoding, encoding), count)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * (2 if self.encoding == "s16le" else 4)

    def decode(self, data: bytes | memoryview) -> NDArray[np.float32]:
        """Return whole samples as [n, channels], full scale = 1. May be a view of the bytes."""
        if self.encoding == "s16le":
            samples = np.frombuffer(data, "<i2") * np.float32(1 / 32768)
        else:
            samples = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
        return samples.reshape(-1, self.channels)


class PcmDecoder:
    """An incremental decoder for bytes that are cut anywhere, also in the middle of a sample.

    pending: the bytes of a sample whose other bytes have not come.
    """

    def __init__(self, format: PcmFormat) -> None:
        self.format = format
        self.pending = b""

    def align(self, data: bytes) -> bytes | memoryview:
        """Return the whole samples of what was pending and of `data`, and keep the rest."""
        if self.pending:
            data = self.pending + data
        whole = len(data) - len(data) % self.format.sample_bytes
        if whole == len(data):
            self.pending = b""
            return data
        self.pending = data[whole:]
        return memoryview(data)[:whole]

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the samples that are complete now, [n, channels]."""
        return self.format.decode(self.align(data))


def parse_whole_number(name: str, text: str) -> int:
    """Return the number that a text consists of. Raises SpecError, with `name`, for any other text."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_NUMBER_LENGTH):
        raise SpecError(f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise SpecError(f"{name} must lie between {low} and {high}, not {value!r}")
