"""Sounds for tests: tones, and files in any format. What is slow to load is imported when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Encode(Protocol):
    def __call__(
        self, path: Path, samples: NDArray[np.float32], rate: int, codec: str, layout: str = ..., **options: str
    ) -> Path: ...


class Tone(Protocol):
    def __call__(
        self, seconds: float, rate: int, frequency: float = ..., amplitude: float = ...
    ) -> NDArray[np.float32]: ...


def encode_sound(
    path: Path, samples: NDArray[np.float32], rate: int, codec: str, layout: str = "mono", **options: str
) -> Path:
    """samples [n, channels], or [n] for all channels alike; the container follows from the suffix.

    options: of the codec; write_xing, of an MP3: whether it has a header.
    """
    import av
    import numpy as np

    channels = av.AudioLayout(layout).nb_channels
    wide = np.broadcast_to(samples.reshape(len(samples), -1), (len(samples), channels)).astype(np.float32)
    of_container = {name: options.pop(name) for name in ("write_xing",) if name in options}
    with av.open(str(path), "w", options=of_container) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
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


def make_tone(seconds: float, rate: int, frequency: float = 440.0, amplitude: float = 0.5) -> NDArray[np.float32]:
    import numpy as np

    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
