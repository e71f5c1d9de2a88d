"""A process that records its default input for some seconds; the tests give it a sound system of their own.

Writes the stream to a file, NaN for what was lost, and reports to standard output, a JSON object per line.
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
    stream_s = first = last = 0.0
    with Microphone() as microphone:
        report(description=microphone.description, latency_s=microphone.latency_s)
        while stream_s < seconds:
            event = microphone.read(0.1)
            if isinstance(event, SourceNotice):
                report(notice=event.text, is_problem=event.is_problem)
            elif isinstance(event, AudioGap):
                report(lost_s=event.samples / 16000, at=stream_s)
                parts.append(np.full(event.samples, np.nan, np.float32))
            elif isinstance(event, AudioChunk) and len(event.samples):
                if not parts:
                    first = event.arrival_time - len(event.samples) / 16000
                    report(begun=time.time())
                last = event.arrival_time
                parts.append(event.samples)
            stream_s = sum(map(len, parts)) / 16000
        report(xruns=microphone.xruns, stream_s=stream_s, clock_s=last - first)
    np.save(target, np.concatenate(parts), allow_pickle=False)


def report(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
