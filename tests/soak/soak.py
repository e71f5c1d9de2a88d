"""Sound through the live path, much faster than it plays, with subscribers that come and go: a process of its own.

python soak.py MODEL SECONDS [leak] prints one line of JSON: what the subscribers saw, and how the memory went.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from streamtag.api import Tagger, load
from streamtag.audio.level_meter import Meter, Reading
from streamtag.audio.source import AudioChunk
from streamtag.cli.bench.figures import music, one_thread
from streamtag.cli.hello import hello
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, Message
from streamtag.protocol.reader import parse
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.base import CallbackSink, Sink, SinkGroup
from streamtag.terminal.watch_panel import MeterSink
from tests.audio.fake_microphone import FakeMicrophone, Fault
from tests.benchmarks.process import resident_mib

RATE, HOP_S = 16000, 0.256
SPEED = 60.0  # times real time
RING_S = 200.0  # of sound: a machine that is busy for a few seconds loses nothing but what the script says
LOSSES = 11  # one every five minutes, of 1.5 s
SUBSCRIBERS = 12  # at a time
QUIET_S = 0.5  # without a message, after which a subscriber looks whether all is over
SETTLED = 0.4  # share of the run after which memory should not grow any more


@dataclass
class Visit:
    """What one subscriber was told."""

    messages: list[Message] = field(default_factory=list)


class Crowd:
    """Subscribers that come, stay for a while and go, some without a word; each checked when it is gone."""

    def __init__(self, url: str) -> None:
        self.visits = self.frames = self.gaps = self.ends = self.dropped = 0
        self.problems: list[str] = []
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="crowd")

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _all(self) -> None:
        await asyncio.gather(*(self._seat(random.Random(number)) for number in range(SUBSCRIBERS)))

    async def _seat(self, chance: random.Random) -> None:
        while not self._over.is_set():
            visit = Visit()
            stay = chance.uniform(0.3, 4.0)
            polite = chance.random() < 0.7
            try:
                async with asyncio.timeout(20), connect(self._url, compression=None) as connection:
                    until, quiet = time.monotonic() + stay, False
                    while not visit.messages or (time.monotonic() < until and not (quiet and self._over.is_set())):
                        quiet = True
                        with suppress(TimeoutError):  # once the sound is over, nothing more is told
                            async with asyncio.timeout(QUIET_S):
                                message = parse(await connection.recv())
                            assert message is not None
                            visit.messages.append(message)
                            quiet = False
                    if not polite:
                        connection.transport.abort()
            except ConnectionClosed:
                pass
            except OSError:
                return  # the server has ended
            self._check(visit)

    def _check(self, visit: Visit) -> None:
        self.visits += 1
        if not visit.messages or not isinstance(visit.messages[0], Hello):
            self.problems.append("a visit did not begin with hello")
            return
        before: Frame | None = None
        gaps: list[Gap] = []
        for message in visit.messages[1:]:
            if isinstance(message, Gap):
                self.gaps += 1
                gaps.append(message)
            elif isinstance(message, End):
                self.ends += 1
            elif isinstance(message, Frame):
                self.frames += 1
                self.dropped += message.dropped
                if before is not None and not _follows(message, before, gaps):
                    self.problems.append(f"frame {message.frame} after {before.frame}, {message.dropped} dropped")
                before = message
            elif not isinstance(message, Event):
                self.problems.append(f"a {message.type}")


def _follows(frame: Frame, before: Frame, gaps: list[Gap]) -> bool:
    """Whether every frame between the two was dropped, as is told, or had its centre in what was lost."""
    between = [HOP_S * number for number in range(before.frame + 1, frame.frame)]
    heard = [time for time in between if not any(gap.start <= time < gap.start + gap.lost_s for gap in gaps)]
    return frame.frame > before.frame and len(heard) == frame.dropped


class Memory(Sink):
    """How much there was after each minute of the stream, MiB."""

    def __init__(self) -> None:
        self.minutes: list[float] = []
        self.mib: list[float] = []

    def write(self, message: Message) -> None:
        if isinstance(message, Frame) and (not self.minutes or message.end / 60 >= self.minutes[-1] + 1):
            gc.collect(0)
            self.minutes.append(message.end / 60)
            self.mib.append(resident_mib(os.getpid()))

    @property
    def an_hour(self) -> float:
        """MiB that it grows an hour, by a line through what was measured once all had settled."""
        first = int(SETTLED * len(self.minutes))
        slope, _ = np.polyfit(self.minutes[first:], self.mib[first:], 1)
        return float(60 * slope)


class Leak(Sink):
    """Keeps every frame, and then some: the negative control."""

    def __init__(self) -> None:
        self.kept: list[NDArray[np.float32]] = []

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.kept.append(np.ones((64, len(message.tags)), np.float32))


def soak(tagger: Tagger, seconds: float, more: list[Sink]) -> tuple[Crowd, Reading, Memory, int]:
    """-> the subscribers, the meter, the memory, and the device's xruns after so much sound."""
    piece = music(20.0)
    sound = (piece for _ in range(round(seconds / 20.0)))
    mishaps = [Fault(at_s=(n + 1) * seconds / (LOSSES + 1), lost_s=1.5) for n in range(LOSSES)]
    memory, meter, greeting = Memory(), Meter(), hello(tagger, tagger.thresholds)
    with ServerThread(ServerConfig(port=0), greeting) as server:
        sinks = SinkGroup([MeterSink(meter), CallbackSink(server.publish), memory, *more])
        detector = EventDetector(tagger.tags, tagger.thresholds)
        hearing = StreamPipeline("soak", Session(tagger), detector, sinks.publish, max_rows=1024)
        url = server.address.replace("http", "ws", 1)
        with (
            Crowd(url) as crowd,
            FakeMicrophone(sound, RATE, speed=SPEED, mishaps=mishaps, name="soak", ring_s=RING_S) as capture,
        ):
            listening = LiveRunner(capture, hearing, meter, Limits(), lambda _: None)
            listening.run(AudioChunk(np.zeros(0, np.float32), 0.0), lambda: True, lambda: None, {})
            hearing.end()
            sinks.raise_failure()
            xruns = capture.xruns
    return crowd, meter.reading(), memory, xruns


def main(model: str, seconds: float, leak: bool) -> None:
    tagger = load(Path(model), "cpu")
    began = time.monotonic()
    with one_thread():
        crowd, reading, memory, xruns = soak(tagger, seconds, [Leak()] if leak else [])
    figures = {
        "speed": seconds / (time.monotonic() - began),
        "visits": crowd.visits,
        "frames": crowd.frames,
        "gaps_told": crowd.gaps,
        "dropped": crowd.dropped,
        "problems": crowd.problems,
        "gaps": reading.gaps,
        "xruns": xruns,
        "lost_s": reading.lost_s,
        "elapsed_s": reading.elapsed_s,
        "mib_an_hour": memory.an_hour,
        "mib": [round(mib) for mib in memory.mib],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), "leak" in sys.argv[3:])
