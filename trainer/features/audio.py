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
            pieces = [_at(sample_rate, *_mono(fifo)) for fifo in _decoded(container, name)]
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{name}: not an audio file: {error}") from error
    if not pieces:
        raise SourceError(f"{name}: no audio in it")
    return np.ascontiguousarray(np.concatenate(pieces), dtype=np.float32)


def duration(path: Path) -> float:
    """Seconds that a sound file says it has; 0 if it does not say or cannot be read."""
    try:
        with av.open(str(path), "r") as container:
            return (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError):
        return 0.0


def _decoded(container: Any, name: str) -> list[av.AudioFifo]:
    """The audio as it was stored, in as few pieces as it has formats: a call for each of an MP3's 800 frames to
    convert it would take as long as decoding it."""
    if not container.streams.audio:
        raise SourceError(f"{name}: no audio in it")
    fifos: list[av.AudioFifo] = []
    kind = None
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            frame.pts = None  # else a gap in the time stamps would be an error
            if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                fifos.append(av.AudioFifo())
            fifos[-1].write(frame)
    return [fifo for fifo in fifos if fifo.samples]


def _mono(fifo: av.AudioFifo) -> tuple[Samples, int]:
    """All of it, channels averaged, and its rate."""
    whole = fifo.read()
    assert whole is not None  # it has samples
    parts = [whole] if whole.format.name == "fltp" else av.AudioResampler(format="fltp").resample(whole)
    channels = np.concatenate([part.to_ndarray() for part in parts], axis=1)
    samples = channels.mean(axis=0) if len(channels) > 1 else channels[0]
    if not np.isfinite(samples).all():
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    return samples, whole.sample_rate


def _at(sample_rate: int, samples: Samples, rate: int) -> Samples:
    return samples if rate == sample_rate else np.asarray(soxr.resample(samples, rate, sample_rate))


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
