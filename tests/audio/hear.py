"""A process that listens to its default input for some seconds; the tests give it a sound system of their own.

Writes the stream to a file, NaN for what was lost, and what happened to standard output, a JSON object a line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.microphone import Microphone
from streamtag.audio.source import AudioChunk, AudioGap, SourceNotice


def main(seconds: float, target: Path) -> None:
    """seconds: of the stream."""
    parts: list[NDArray[np.float32]] = []
    heard = first = last = 0.0
    with Microphone() as capture:
        tell(description=capture.description, latency_s=capture.latency_s)
        while heard < seconds:
            piece = capture.read(0.1)
            if isinstance(piece, SourceNotice):
                tell(notice=piece.text, is_problem=piece.is_problem)
            elif isinstance(piece, AudioGap):
                tell(lost_s=piece.samples / 16000, at=heard)
                parts.append(np.full(piece.samples, np.nan, np.float32))
            elif isinstance(piece, AudioChunk) and len(piece.samples):
                if not parts:
                    first = piece.arrival_time - len(piece.samples) / 16000
                    tell(begun=time.time())
                last = piece.arrival_time
                parts.append(piece.samples)
            heard = sum(map(len, parts)) / 16000
        tell(xruns=capture.xruns, stream_s=heard, clock_s=last - first)
    np.save(target, np.concatenate(parts), allow_pickle=False)


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
