"""Samples of every format become floats as FFmpeg itself converts them."""

from __future__ import annotations

import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from streamtag.audio.block_decoder import as_float

COUNT = 1000  # samples per channel


def random_frame(format: str, layout: str) -> AudioFrame:
    frame = AudioFrame(format=format, layout=layout, samples=COUNT)
    frame.sample_rate = 44100
    rng = np.random.default_rng(0)
    for plane in frame.planes:
        size = plane.buffer_size
        if format[:3] in ("flt", "dbl"):
            kind = np.dtype("f4" if format[0] == "f" else "f8")
            plane.update(rng.standard_normal(size // kind.itemsize).astype(kind).tobytes())
        else:
            plane.update(rng.integers(0, 256, size, dtype=np.uint8).tobytes())
    return frame


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("format", ["u8", "s16", "s32", "s64", "flt", "dbl"])
@pytest.mark.parametrize("planar", ["", "p"])
def test_samples_become_floats_as_ffmpeg_converts_them(format: str, planar: str, layout: str) -> None:
    frame = random_frame(format + planar, layout)
    own = as_float(frame)
    (expected,) = AudioResampler(format="flt").resample(frame)
    np.testing.assert_array_equal(own, expected.to_ndarray().reshape(COUNT, -1))
    assert own.dtype == np.float32
