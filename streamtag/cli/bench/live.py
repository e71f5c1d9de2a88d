"""Live streams: the latency and the cost of one that is served to subscribers, and how many this machine can process.

    audio by the clock ─► the loop of `listen`, serving ─► subscribers, who note when each frame arrives

Latency counts from the moment at which the last sample that a frame needs has arrived. Of many streams the scheduler
alone is measured: none may lose a frame, and all messages must come in time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from websockets.sync.client import ClientConnection, connect

from streamtag.api import Tagger
from streamtag.audio.level_meter import Meter
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import NO_SAMPLES, AudioChunk, AudioSource, CaptureEvent
from streamtag.cli.bench.figures import Figures, print_progress, run_sections
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.cli.runtime import hello
from streamtag.cli.serve import GPU_BATCH, ParallelismPlan
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.model.batched import torch_threads
from streamtag.protocol.messages import Frame, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.load import DEADLINE_S, PERIOD_S, LoadSchedule, music
from streamtag.scheduler.trial import MAX_TRIALS, scheduler_trial, search
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.text import usable_cores

BLOCK = 160  # samples: 10 ms
PIECE_S = 20.0  # s of music, repeated
SUBSCRIBERS = 10
WARM_UP_S = 3.0  # not counted
MAX_ROWS = 1024  # of the timeline
FIRST, FIRST_ON_A_GPU = 64, 1024  # streams of the first trial
MAX_STREAMS = 1 << 16
BATCH = 64  # streams of a step at most, without a GPU


class PacedSource(AudioSource):
    """Plays music from memory in real time, in blocks of 10 ms."""

    def __init__(self, seconds: float) -> None:
        super().__init__("bench", "sound from memory, 16000 Hz, in real time")
        self._piece = music(PIECE_S)
        self._length = round(seconds * SAMPLE_RATE)
        self._position = 0
        self._start_time = time.monotonic()

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        """Return all whole blocks that are due."""
        self._has_ended = self._position >= self._length
        early_s = self._start_time + (self._position + BLOCK) / SAMPLE_RATE - time.monotonic()
        time.sleep(max(0.0, min(early_s, timeout_s)))
        due = int((time.monotonic() - self._start_time) * SAMPLE_RATE) // BLOCK * BLOCK
        start, self._position = self._position, max(self._position, min(due, self._length))
        samples = self._piece.take(np.arange(start, self._position), mode="wrap")
        return [AudioChunk(samples, self._start_time + self._position / SAMPLE_RATE)] if len(samples) else []

    def close(self) -> None:
        pass


def run_live(tagger: Tagger, as_json: bool, seconds: float) -> None:
    """Measure so many seconds of sound and print the figures."""
    sections = {f"live, {SUBSCRIBERS} subscribers": partial(live, tagger, partial(PacedSource, seconds), seconds)}
    with torch_threads(1):
        run_sections(sections, as_json, tagger.device)


def run_capacity(tagger: Tagger, as_json: bool, seconds: float, precision: str) -> None:
    """Search, and print what was found. seconds: measured in each trial."""
    plan = ParallelismPlan.of(tagger.device)
    schedule = LoadSchedule(tagger.network.spec.hop_s, tagger.network.spec.lookahead_s, seconds=seconds)
    config = SchedulerConfig(workers=plan.threads, batch=BATCH if tagger.device == "cpu" else GPU_BATCH)
    trial = partial(scheduler_trial, tagger, schedule, config=config, processes=plan.processes, precision=precision)
    first = FIRST if tagger.device == "cpu" else FIRST_ON_A_GPU
    sections: dict[str, Callable[[], Figures]] = {
        "rule": lambda: {
            "passed": f"no frame lost, p99 of hop ready to message under {1e3 * DEADLINE_S:g} ms",
            "fed": f"16-bit mono at {SAMPLE_RATE} Hz in chunks of {1e3 * PERIOD_S:g} ms, by the clock",
        },
        "engine alone": lambda: search(trial, first, MAX_STREAMS, MAX_TRIALS * schedule.counted[1], print_progress),
    }
    with torch_threads(1):
        workers = {"worker_processes": plan.processes or 0, "engine_threads": plan.threads}
        run_sections(sections, as_json, tagger.device, cores=usable_cores(), precision=precision, **workers)


def live(
    tagger: Tagger, open_source: Callable[[], AudioSource], seconds: float, warm_up_s: float = WARM_UP_S
) -> Figures:
    """Tag a source in real time, serve the messages and return the figures: percentiles over subscribers and frames.

    A frame's last needed sample arrives one look-ahead and the source's own latency after the sound at its centre.
    """
    centres: dict[int, float] = {}  # when the sound at the centre of each frame was made, on time.monotonic()
    arrivals: list[tuple[int, float]] = []
    config = ServerConfig(port=0, max_clients=SUBSCRIBERS)
    with ExitStack() as resources:
        server = resources.enter_context(ServerThread(config, hello(tagger)))
        url = server.address.replace("http", "ws", 1)
        for _ in range(SUBSCRIBERS):
            client = resources.enter_context(connect(url, compression=None, max_queue=None))
            thread = threading.Thread(target=_receive, args=(client, arrivals), name="bench-subscriber")
            thread.start()
            resources.callback(thread.join)
            resources.callback(client.close)

        def publish(message: Message) -> None:
            if isinstance(message, Frame) and message.latency_s is not None:
                centres[message.frame] = time.monotonic() - message.latency_s
            server.publish(message)

        pipeline = StreamPipeline("bench", Session(tagger), publish, max_rows=MAX_ROWS)
        source = open_source()
        resources.callback(source.close)
        runner = LiveRunner(source, pipeline, Meter(), Limits(seconds), lambda _: None)
        cpu_s, wall_s = time.process_time(), time.monotonic()
        runner.run(AudioChunk(NO_SAMPLES, 0.0), lambda: True)
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        connected = server.subscribers
        time.sleep(1.0)  # for the last frames to arrive
    spec = tagger.network.spec
    first = min(centres) + round(warm_up_s / spec.hop_s)
    counted = {frame for frame in centres if frame >= first}
    delays_s = np.array([arrived - centres[frame] for frame, arrived in arrivals if frame in counted])
    after_ms = 1e3 * (delays_s - source.latency_s - spec.lookahead_s)
    p50, p95, p99 = np.percentile(after_ms, [50, 95, 99]).tolist()
    return {
        "source": source.description,
        "frames": len(counted),
        "arrival_to_subscriber_p50_ms": p50,
        "arrival_to_subscriber_p95_ms": p95,
        "arrival_to_subscriber_p99_ms": p99,
        "arrival_to_subscriber_max_ms": float(after_ms.max()),
        # a sound just after one frame's centre waits for the next frame
        "sound_to_message_worst_ms": 1e3 * (float(delays_s.max()) + spec.hop_s),
        "not_delivered": len(counted) * SUBSCRIBERS - len(after_ms),
        "connected_at_the_end": connected,
        "cpu_percent_of_a_core": 100 * cpu_s / wall_s,
        "xruns": source.xruns,
    }


def _receive(client: ClientConnection, arrivals: list[tuple[int, float]]) -> None:
    """Note the number and the arrival of every frame until the connection is closed."""
    for line in client:
        now = time.monotonic()
        message = json.loads(line)
        if message["type"] == "frame":
            arrivals.append((message["frame"], now))
