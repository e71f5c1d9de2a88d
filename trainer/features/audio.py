"""Sound files as mono float32 samples, and samples through a lossy codec and back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from streamtag.audio.block_decoder import Decoder
from streamtag.audio.resample import Resampler
from streamtag.errors import SourceError

Samples = NDArray[np.float32]

CODECS = {
    "mp3": ("libmp3lame", "mp3"),
    "opus": ("libopus", "ogg"),
    "flac": ("flac", "flac"),
}  # name: (encoder, container)
OPUS_RATE = 48000


def decode(file: Path | IO[bytes], sample_rate: int) -> Samples:
    """Return all samples of a sound file, channels averaged, [T] at `sample_rate` Hz. Damaged packets are skipped.

    Raises SourceError if it cannot be opened or contains no audio.
    """
    name = file.name if isinstance(file, Path) else "clip"
    parts = []
    try:
        with av.open(str(file) if isinstance(file, Path) else file, "r", metadata_errors="replace") as container:
            for block in Decoder(container).blocks(float("inf")):
                resampler = Resampler(block.rate, sample_rate)
                parts += [resampler.feed(block.samples), resampler.flush()]
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{name}: not an audio file: {error}") from error
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    if not parts:
        raise SourceError(f"{name}: no audio in it")
    return np.concatenate(parts)


def duration(path: Path) -> float:
    """Return the length that a sound file states, in seconds; 0 if it states none or cannot be read."""
    try:
        with av.open(str(path), "r", metadata_errors="replace") as container:
            return (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError):
        return 0.0


def encode(samples: Samples, sample_rate: int, codec: str, bit_rate: int, file: Path | IO[bytes]) -> None:
    """Write [T] samples as mono `codec` (a name in CODECS) at `bit_rate` bits per second, which FLAC ignores.

    Raises SourceError if this FFmpeg lacks the encoder.
    """
    encoder, container_format = CODECS[codec]
    try:
        with av.open(str(file) if isinstance(file, Path) else file, "w", format=container_format) as container:
            rate = OPUS_RATE if codec == "opus" else sample_rate
            stream = container.add_stream(encoder, rate=rate, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = bit_rate
            if rate != sample_rate:
                samples = soxr.resample(samples, sample_rate, rate)
            whole = av.AudioFrame.from_ndarray(samples[None, :].astype(np.float32), format="fltp", layout="mono")
            whole.sample_rate = rate
            fifo = av.AudioFifo()
            for frame in av.AudioResampler(format=stream.format, layout="mono", rate=rate).resample(whole):
                fifo.write(frame)
            size = stream.codec_context.frame_size or 1024
            while (part := fifo.read(size, partial=True)) is not None:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{codec}: cannot encode: {error}") from error


def reencode(samples: Samples, sample_rate: int, codec: str, bit_rate: int) -> Samples:
    """Pass samples [T] -> [T] through a lossy codec and back, without its delay."""
    memory = io.BytesIO()
    encode(samples, sample_rate, codec, bit_rate, memory)
    memory.seek(0)
    decoded = decode(memory, sample_rate)
    if len(decoded) < len(samples):
        decoded = np.pad(decoded, (0, len(samples) - len(decoded)))
    return decoded[: len(samples)]
