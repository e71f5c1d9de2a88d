"""Whole clips as mono float32 samples, and back through a lossy codec."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from streamtag.errors import SourceError

Samples = NDArray[np.float32]

CODECS = {"mp3": ("libmp3lame", "mp3"), "opus": ("libopus", "ogg")}  # name: (encoder, container)


def decode(where: Path | IO[bytes], sample_rate: int) -> Samples:
    """All samples of a sound file, channels averaged, [T] at `sample_rate` Hz.

    Raises SourceError if it cannot be opened or holds no audio; damaged packets inside are skipped.
    """
    name = where.name if isinstance(where, Path) else "clip"
    try:
        with av.open(where if not isinstance(where, Path) else str(where), "r") as container:
            pieces, rate = _frames(container, name)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{name}: not an audio file: {error}") from error
    if not pieces:
        raise SourceError(f"{name}: no audio in it")
    samples = np.nan_to_num(np.concatenate(pieces), nan=0.0, posinf=0.0, neginf=0.0)
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate)
    return np.ascontiguousarray(samples, dtype=np.float32)


def duration(path: Path) -> float:
    """Seconds that a sound file says it has; 0 if it does not say or cannot be read."""
    try:
        with av.open(str(path), "r") as container:
            return (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError):
        return 0.0


def _frames(container: Any, name: str) -> tuple[list[Samples], int]:
    if not container.streams.audio:
        raise SourceError(f"{name}: no audio in it")
    stream = container.streams.audio[0]
    planar = av.AudioResampler(format="fltp")  # keeps rate and layout
    pieces: list[Samples] = []
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue
        for frame in decoded:
            pieces.extend(part.to_ndarray().mean(axis=0) for part in planar.resample(frame))
    return pieces, int(stream.rate)


def encode(samples: Samples, sample_rate: int, codec: str, bit_rate: int, where: Path | IO[bytes]) -> None:
    """Write [T] samples as mono `codec` (a name in CODECS) at `bit_rate` bits a second.

    Raises SourceError if this FFmpeg lacks the encoder.
    """
    encoder, container_format = CODECS[codec]
    try:
        target = str(where) if isinstance(where, Path) else where
        with av.open(target, "w", format=container_format) as container:
            rate = 48000 if codec == "opus" else sample_rate
            stream = container.add_stream(encoder, rate=rate, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = bit_rate
            if rate != sample_rate:
                samples = soxr.resample(samples, sample_rate, rate)
            whole = av.AudioFrame.from_ndarray(samples[None, :].astype(np.float32), format="fltp", layout="mono")
            whole.sample_rate = rate
            fifo = av.AudioFifo()
            convert = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
            for frame in convert.resample(whole):
                fifo.write(frame)
            size = stream.codec_context.frame_size or 1024
            while (piece := fifo.read(size, partial=True)) is not None:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{codec}: cannot encode: {error}") from error


def reencode(samples: Samples, sample_rate: int, codec: str, bit_rate: int) -> Samples:
    """[T] -> [T]: through a lossy codec and back, its delay cut off."""
    memory = io.BytesIO()
    encode(samples, sample_rate, codec, bit_rate, memory)
    memory.seek(0)
    back = decode(memory, sample_rate)
    if len(back) < len(samples):
        back = np.pad(back, (0, len(samples) - len(back)))
    return back[: len(samples)]
