"""The latency and the cost of one live stream that is served to subscribers in another process.

    audio by the clock ─► the loop of `listen`, serving ─► subscribers, who note when each frame arrives

Latency counts from the moment at which the last sample that a frame needs has arrived.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from streamtag.api import Tagger, load
from streamtag.audio.level_meter import Meter
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk, AudioSource
from streamtag.cli.bench.figures import Figures, music, one_thread, run_sections
from streamtag.cli.bench.subscribers import ArrivalTimes
from streamtag.cli.hello import hello
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame, Message
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.base import CallbackSink, Sink, SinkGroup

BLOCK = 160  # samples: 10 ms
PIECE_S = 20.0  # s of music, repeated
SUBSCRIBERS = (10, 200)
WARM_UP_S = 3.0  # not counted
REPORT_TIMEOUT_S = 60.0  # for the subscribers' report after the server has stopped


class PacedSource:
    """An AudioSource that plays music from memory in real time, in blocks of 10 ms."""

    name = "bench"
    description = "sound from memory, 16000 Hz, in real time"
    xruns = 0
    latency_s = 0.0

    def __init__(self, seconds: float) -> None:
        self._piece = music(PIECE_S)
        self._length = round(seconds * SAMPLE_RATE)
        self._position = 0
        self._start_time = time.monotonic()

    def read(self, timeout_s: float) -> AudioChunk | None:
        """Return all whole blocks that are due, an empty chunk if none is within timeout_s, or None at the end."""
        if self._position >= self._length:
            return None
        early_s = self._start_time + (self._position + BLOCK) / SAMPLE_RATE - time.monotonic()
        time.sleep(max(0.0, min(early_s, timeout_s)))
        due = int((time.monotonic() - self._start_time) * SAMPLE_RATE) // BLOCK * BLOCK
        start, self._position = self._position, max(self._position, min(due, self._length))
        samples = self._piece.take(np.arange(start, self._position), mode="wrap")
        return AudioChunk(samples, self._start_time + self._position / SAMPLE_RATE)

    def close(self) -> None:
        pass


def run(*, as_json: bool, model: Path | None, device: str, seconds: float) -> int:
    """Measure so many seconds of sound for each number of subscribers, print it and return the exit code."""
    tagger = load(model, device)
    open_source = partial(PacedSource, seconds)
    sections = {f"live, {n} subscribers": partial(live, tagger, open_source, seconds, n) for n in SUBSCRIBERS}
    with one_thread():
        run_sections(sections, as_json, tagger.device)
    return 0


def live(
    tagger: Tagger,
    open_source: Callable[[], AudioSource],
    seconds: float,
    subscribers: int,
    warm_up_s: float = WARM_UP_S,
) -> Figures:
    """Tag a source in real time, serve the messages and return the figures."""
    centres, greeting = FrameCentres(), hello(tagger, tagger.thresholds)
    with ExitStack() as resources:
        server = resources.enter_context(ServerThread(ServerConfig(port=0, max_clients=subscribers), greeting))
        process = resources.enter_context(_subscribers(server.address, subscribers))
        sinks = SinkGroup([centres, CallbackSink(server.publish)])
        detector = EventDetector(tagger.tags, tagger.thresholds)
        pipeline = StreamPipeline("bench", Session(tagger), detector, sinks.publish, max_rows=1024)
        source = open_source()
        resources.callback(source.close)
        runner = LiveRunner(source, pipeline, Meter(), Limits(seconds), lambda _: None)
        cpu_s, wall_s = time.process_time(), time.monotonic()
        runner.run(AudioChunk(np.zeros(0, np.float32), 0.0), lambda: True, lambda: None, {})
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        connected = server.subscribers
        pipeline.end()
        sinks.raise_failure()
    report, _ = process.communicate(timeout=REPORT_TIMEOUT_S)
    times = {int(frame): arrivals for frame, arrivals in json.loads(report).items()}
    return {
        "source": source.description,
        **_latencies(centres.times, source.latency_s, times, subscribers, tagger, warm_up_s),
        "connected_at_the_end": connected,
        "cpu_percent_of_a_core": 100 * cpu_s / wall_s,
        "xruns": source.xruns,
    }


class FrameCentres(Sink):
    """For each frame the time on the monotonic clock at which the sound at its centre was made."""

    def __init__(self) -> None:
        self.times: dict[int, float] = {}

    def write(self, message: Message) -> None:
        if isinstance(message, Frame) and message.latency_s is not None:
            self.times[message.frame] = time.monotonic() - message.latency_s


def _latencies(
    centres: dict[int, float], latency_s: float, times: ArrivalTimes, subscribers: int, tagger: Tagger, warm_up_s: float
) -> Figures:
    """Return percentiles over all subscribers and frames, and how many frames arrived late or not at all.

    A frame's last needed sample arrives one look-ahead and the source's own delay after the sound at its centre.
    """
    spec = tagger.network.spec
    first = min(centres) + round(warm_up_s / spec.hop_s)
    counted = [frame for frame in centres if frame >= first]
    delays_s = np.array([arrival - centres[frame] for frame in counted for arrival in times.get(frame, [])])
    after_ms = 1e3 * (delays_s - latency_s - spec.lookahead_s)
    p50, p95, p99 = np.percentile(after_ms, [50, 95, 99]).tolist()
    return {
        "frames": len(counted),
        "arrival_to_subscriber_p50_ms": p50,
        "arrival_to_subscriber_p95_ms": p95,
        "arrival_to_subscriber_p99_ms": p99,
        "arrival_to_subscriber_max_ms": float(after_ms.max()),
        # a sound just after one frame's centre waits for the next frame
        "sound_to_message_worst_ms": 1e3 * (float(delays_s.max()) + spec.hop_s),
        "allowed_ms": 1e3 * (spec.lookahead_s + spec.hop_s + 0.1),
        "late_by_a_hop": int((after_ms > 1e3 * spec.hop_s).sum()),
        "not_delivered": len(counted) * subscribers - len(after_ms),
    }


@contextmanager
def _subscribers(address: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """Start the process of the subscribers; it reports when the server has closed their connections."""
    url = address.replace("http", "ws", 1)
    command = [sys.executable, "-m", "streamtag.cli.bench.subscribers", url, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the subscribers' process did not start")
        yield process
    except BaseException:
        process.kill()
        process.communicate()
        raise
