"""WAV files for tests."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def write_wav(path: Path, samples: NDArray[Any], rate: int = 44100) -> Path:
    """Write samples [n] or [n, channels] within ±1, with 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
