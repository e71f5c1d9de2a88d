"""`streamtag bench live`: how late tags are, and what they cost, while a device plays in real time.

    loudspeaker ─► microphone      where PortAudio has both and one hears the other
    or a paced source              that fills the same ring by the clock
         └─► the loop of `listen`, serving ─► subscribers in another process, who note when each frame came

Latency is counted from the call of the audio callback that brought a frame's last needed sample.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
import soxr

from streamtag.api import Tagger, load
from streamtag.audio.level_meter import Meter
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk, AudioSource
from streamtag.cli.bench.fake_microphone import FakeMicrophone
from streamtag.cli.bench.loopback import Loopback
from streamtag.cli.bench.measure import Figures, machine, music, one_thread, resident_mib, say, show
from streamtag.cli.hello import hello
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.cli.serving import WebSocketSink
from streamtag.inference.frame import TagFrame
from streamtag.inference.pipeline import StreamPipeline
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.base import SilentSink, Stream

RATE = 48000  # Hz, of the paced source: most sound cards' own
PIECE_S = 20.0  # s of music, again and again
FEW, MANY = 10, 200  # subscribers
WARM_S = 3.0  # s at the start that are not counted
FAREWELL_S = 60.0  # s; how long the subscribers have to tell what they saw

Times = dict[int, list[float]]


def run(*, as_json: bool, model: Path | None, device: str, seconds: float) -> int:
    """Measures and prints; progress goes to stderr. seconds: of sound, each section. -> the exit code."""
    tagger = load(model, device)
    with one_thread():
        say("looking for a loudspeaker that a microphone hears ...")
        loopback = Loopback.find(music(3.0))
        sections: dict[str, Callable[[], Figures]] = {
            f"live, {FEW} subscribers": lambda: live(tagger, seconds, FEW, 0, loopback),
            f"live, {MANY} subscribers, one of them not reading": lambda: live(tagger, seconds, MANY - 1, 1, None),
        }
        results: dict[str, Figures] = {}
        for name, measure in sections.items():
            say(f"{name}, {seconds:g} s ...")
            results[name] = measure()
            if not as_json:
                show(name, results[name])
        results["machine"] = machine(tagger.device)
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        show("machine", results["machine"])
    return 0


def live(tagger: Tagger, seconds: float, readers: int, stalled: int, loopback: Loopback | None) -> Figures:
    """One stream in real time with so many subscribers, and some that never read."""
    centres, meter, greeting = Centres(), Meter(), hello(tagger, tagger.thresholds)
    spec = ServerConfig(port=0, max_clients=readers + stalled)
    with ExitStack() as resources:
        server = resources.enter_context(ServerThread(spec, greeting))
        process = resources.enter_context(subscribers(server.address, readers, stalled))
        sinks = [centres, WebSocketSink(greeting.tags, server)]
        hearing = StreamPipeline(Stream("bench"), tagger, tagger.thresholds, sinks, longest=1024)
        source = resources.enter_context(_source(seconds, loopback))
        listening = LiveRunner(source, hearing, meter, Limits(seconds), lambda _: None)
        memory, cpu, wall = resident_mib(), time.process_time(), time.monotonic()
        listening.run(AudioChunk(np.zeros(0, np.float32), 0.0), lambda: True, lambda: None, {})
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        grown, connected = resident_mib() - memory, server.subscribers
        hearing.end()
    out, _ = process.communicate(timeout=FAREWELL_S)  # the server has ended, so the subscribers have
    times = {int(frame): came for frame, came in json.loads(out).items()}
    return {
        "source": source.description,
        **_latencies(centres.made, source.latency_s, times, readers, tagger),
        "connected_at_the_end": connected,
        "cpu_percent_of_a_core": 100 * cpu / wall,
        "memory_grown_mib": grown,
        "xruns": source.xruns,
    }


def _source(seconds: float, loopback: Loopback | None) -> AbstractContextManager[AudioSource]:
    if loopback is not None:
        return loopback.playing(music(PIECE_S))
    piece = soxr.resample(music(PIECE_S), SAMPLE_RATE, RATE)
    return closing(FakeMicrophone(repeat(piece, 1 + int(seconds / PIECE_S)), RATE, name="bench"))


class Centres(SilentSink):
    """For each frame, when the sound at its centre was made, on time.monotonic()."""

    def __init__(self) -> None:
        self.made: dict[int, float] = {}

    def frame(self, stream: Stream, frame: TagFrame) -> None:  # noqa: ARG002
        if frame.latency_s is not None:
            self.made[frame.index] = time.monotonic() - frame.latency_s


def _latencies(made: dict[int, float], delay_s: float, times: Times, readers: int, tagger: Tagger) -> Figures:
    """Percentiles over all subscribers and frames, and how many frames came late or not at all.

    A frame's last needed sample arrived one look-ahead, and what the device adds, after the sound at its centre
    was made; that it waited for the end of its block, 10 ms at most, counts as ours.
    """
    spec = tagger.network.spec
    first = min(made) + round(WARM_S / spec.hop_s)
    counted = [frame for frame in made if frame >= first]
    sound = np.array([came - made[frame] for frame in counted for came in times.get(frame, [])])
    after = 1e3 * (sound - delay_s - spec.lookahead_s)
    p50, p95, p99 = np.percentile(after, [50, 95, 99]).tolist()
    return {
        "frames": len(counted),
        "arrival_to_subscriber_p50_ms": p50,
        "arrival_to_subscriber_p95_ms": p95,
        "arrival_to_subscriber_p99_ms": p99,
        "arrival_to_subscriber_max_ms": float(after.max()),
        # a sound that just missed one frame's centre waits for the next one
        "sound_to_message_worst_ms": 1e3 * (float(sound.max()) + spec.hop_s),
        "allowed_ms": 1e3 * (spec.lookahead_s + spec.hop_s + 0.1),
        "late_by_a_hop": int((after > 1e3 * spec.hop_s).sum()),
        "not_delivered": len(counted) * readers - len(after),
    }


@contextmanager
def subscribers(address: str, readers: int, stalled: int) -> Iterator[subprocess.Popen[str]]:
    """The process of the subscribers, once all are there; it ends, and tells its times, when the server does."""
    url = address.replace("http", "ws", 1)
    command = [sys.executable, "-m", "streamtag.cli.bench.readers", url, str(readers), str(stalled)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the subscribers' process did not start")
        yield process
    except BaseException:
        process.kill()
        process.communicate()
        raise
