"""Sounds made on the spot: nothing in these tests needs a file from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import av
import numpy as np
import pytest
from numpy.typing import NDArray


class Encode(Protocol):
    def __call__(self, path: Path, samples: NDArray[np.float32], rate: int, codec: str, layout: str = ...) -> Path: ...


class Tone(Protocol):
    def __call__(
        self, seconds: float, rate: int, frequency: float = ..., amplitude: float = ...
    ) -> NDArray[np.float32]: ...


def _encode(path: Path, samples: NDArray[np.float32], rate: int, codec: str, layout: str = "mono") -> Path:
    """samples [n, channels], or [n] for all channels alike; the container follows from the suffix."""
    channels = av.AudioLayout(layout).nb_channels
    wide = np.broadcast_to(samples.reshape(len(samples), -1), (len(samples), channels)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size or 4096)
        for start in range(0, len(wide), 4096):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(wide[start : start + 4096]).reshape(1, -1), format="flt", layout=layout
            )
            frame.sample_rate = rate
            frame.pts = start
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return path


def _tone(seconds: float, rate: int, frequency: float = 440.0, amplitude: float = 0.5) -> NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture(scope="session")
def encode() -> Encode:
    return _encode


@pytest.fixture(scope="session")
def tone() -> Tone:
    return _tone
