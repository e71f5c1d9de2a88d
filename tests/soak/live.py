"""Audio through the live path, much faster than it plays, with a subscriber, in a process of its own.

python -m tests.soak.live MODEL SECONDS [leak] prints one JSON object; leak: every frame is kept many times.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import connect

from streamtag.api import Tagger, load
from streamtag.audio.level_meter import Meter
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.source import AudioChunk
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.cli.runtime import hello
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.model.batched import torch_threads
from streamtag.protocol.messages import Frame, Message
from streamtag.protocol.reader import parse
from streamtag.scheduler.load import music
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.base import CallbackSink, Sink, SinkGroup
from streamtag.terminal.stream_view import MeterSink
from tests.audio.fake_microphone import FakeMicrophone, Fault
from tests.benchmarks.process import mib_per_hour, resident_mib
from tests.soak.stream_record import LostAudio, SentAudio, Signal, StreamRecord

RATE = 16000
SPEED = 40.0  # times real time
GAPS, GAP_S = 11, 1.5
READING_INTERVAL_S = 20.0  # of the stream


class MemorySink(Sink):
    """Read the memory of this process every so often."""

    def __init__(self) -> None:
        self.readings: list[tuple[float, float]] = []

    def write(self, message: Message) -> None:
        if isinstance(message, Frame) and message.end >= READING_INTERVAL_S * (len(self.readings) + 1):
            gc.collect(0)
            self.readings.append((message.end, resident_mib(os.getpid())))


class LeakingSink(Sink):
    """Keep every frame many times: the negative control."""

    def __init__(self) -> None:
        self.kept: list[NDArray[np.float32]] = []

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.kept.append(np.ones((64, len(message.tags)), np.float32))


def receive(url: str, messages: list[Message]) -> None:
    """Collect what a subscriber gets until the server ends; probabilities are dropped to save memory."""
    with connect(url, compression=None) as connection:
        for line in connection:
            message = parse(line)
            if message is not None and message.type != "hello":
                messages.append(replace(message, tags={}) if isinstance(message, Frame) else message)


def run(tagger: Tagger, seconds: float, *more: Sink) -> dict[str, Any]:
    """Return what the meter, the subscriber and the memory showed after so much audio."""
    audio = music(20.0)
    faults = [Fault(at_s=(n + 1) * seconds / (GAPS + 1), lost_s=GAP_S) for n in range(GAPS)]
    memory, meter, record = MemorySink(), Meter(), StreamRecord(Signal("soak", PcmFormat(RATE)))
    began = time.monotonic()
    with ServerThread(ServerConfig(port=0), hello(tagger)) as server:
        sinks = SinkGroup([MeterSink(meter), CallbackSink(server.publish), memory, *more])
        pipeline = StreamPipeline("soak", Session(tagger), sinks.publish, max_rows=1024)
        url = server.address.replace("http", "ws", 1)
        subscriber = threading.Thread(target=receive, args=(url, record.messages))
        subscriber.start()
        while not server.subscribers:
            time.sleep(0.01)
        source = (audio for _ in range(round(seconds / 20.0)))
        with FakeMicrophone(source, SPEED, faults, "soak") as capture:
            runner = LiveRunner(capture, pipeline, meter, Limits(), lambda _: None)
            runner.run(AudioChunk(np.zeros(0, np.float32), 0.0), lambda: True)
            pipeline.end()
            sinks.raise_failure()
            xruns = capture.xruns
    subscriber.join(60)
    part = (seconds - GAPS * GAP_S) / GAPS  # where the parts end does not matter here, only their sum
    record.fed = [each for _ in range(GAPS) for each in (SentAudio(0, round(part * RATE)), LostAudio(GAP_S))]
    record.has_ended = True
    reading = meter.reading()
    return {
        "speed": seconds / (time.monotonic() - began),
        "frames": len(record.frames),
        "problems": record.check(),
        "gaps": [len(record.gaps), reading.gaps, xruns],
        "lost_s": reading.lost_s,
        "elapsed_s": reading.elapsed_s,
        "mib_per_hour": mib_per_hour(memory.readings),
    }


if __name__ == "__main__":
    with torch_threads(1):
        leak = [LeakingSink()] if sys.argv[3:] else []
        print(json.dumps(run(load(Path(sys.argv[1]), "cpu"), float(sys.argv[2]), *leak)))
