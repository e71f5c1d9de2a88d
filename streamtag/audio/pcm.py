"""Bare samples: their format, and bytes that become numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import MIN_RATE
from streamtag.errors import SpecError

Sample = Literal["s16le", "f32le"]


@dataclass(frozen=True)
class Pcm:
    """rate: Hz. sample: signed 16-bit or 32-bit floating-point numbers, little-endian, channels interleaved.

    Who takes samples says how far they may go: in a class of its own, with its limits.
    """

    HIGHEST_RATE: ClassVar[int]  # Hz
    MOST_CHANNELS: ClassVar[int]

    rate: int = 16000
    sample: Sample = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name, least, most in (("rate", MIN_RATE, self.HIGHEST_RATE), ("channels", 1, self.MOST_CHANNELS)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise SpecError(f"{kind}: {name} must lie between {least} and {most}, not {value!r}")
        if self.sample not in get_args(Sample):
            raise SpecError(f"{kind}: format must be one of {', '.join(get_args(Sample))}, not {self.sample!r}")

    @property
    def sample_bytes(self) -> int:
        """Of one sample of all channels."""
        return self.channels * (2 if self.sample == "s16le" else 4)

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Whole samples -> [n, channels], full scale = 1. May be a view of the bytes."""
        if self.sample == "s16le":
            samples = np.frombuffer(data, "<i2") * np.float32(1 / 32768)
        else:
            samples = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
        return samples.reshape(-1, self.channels)
