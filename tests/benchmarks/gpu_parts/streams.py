"""Part b: single-stream latency, what a hop consists of, and the number of live streams, without sockets.

The network alone is fed by the clock: hops of all streams become ready one after the other, evenly, and each step
takes what is ready. The scheduler is fed as `streamtag bench streams` does, with bytes of producers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from streamtag.inference.session import Session
from streamtag.model import BatchedTagger, TaggerNetwork, load_tagger
from streamtag.model.cuda_graphs import MAX_BATCH, CudaGraphs
from streamtag.model.states import StreamStates
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.load import DEADLINE_S, LoadSchedule
from streamtag.scheduler.trial import scheduler_trial, search
from tests.benchmarks.gpu_parts.report import DONE, Report
from tests.benchmarks.gpu_parts.settings import HOP, SHIPPED_MODEL, Settings, noise, peak_memory_gib, seconds_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERLOAD_S = 1.0  # a trial ends when a hop has waited so long
SEARCH_STEPS = 4  # halvings after the first number that fails
SCHEDULER_SEARCH_S = 60.0


@dataclass(frozen=True)
class DeviceTagger:
    network: TaggerNetwork


def run(report: Report, settings: Settings) -> None:
    torch.set_num_threads(1)
    network = load_tagger(SHIPPED_MODEL, settings.device)
    _measure_single(report, settings, network)
    _measure_shares(report, settings, network)
    _search_network(report, settings, network)
    _search_scheduler(report, settings, network)
    report.write(DONE)


def _measure_single(report: Report, settings: Settings, network: TaggerNetwork) -> None:
    audio, repeats = noise(1, HOP), settings.size(300, 3)
    batched = BatchedTagger(network, 1)
    session = Session(DeviceTagger(network))
    for name, step in (
        ("a hop of one stream, in a pool", lambda: batched.step(audio, np.zeros(1, np.int64))),
        ("a hop of one stream, a session", lambda: session.feed(audio[0])),
    ):
        report.write(name, **_percentiles_ms(seconds_each(step, repeats)))


@torch.inference_mode()
def _measure_shares(report: Report, settings: Settings, network: TaggerNetwork) -> None:
    """Time the parts of a step of the largest batch, each captured by itself, and the whole step."""
    streams, device = settings.size(MAX_BATCH, 4), settings.device
    states, rows = StreamStates(network, streams), torch.arange(streams, device=device)
    host = torch.from_numpy(noise(streams, HOP))
    results = torch.zeros(streams, len(network.tags))
    if device.type == "cuda":
        host, results = host.pin_memory(), results.pin_memory()
    audio, probs = host.to(device), results.to(device)
    frames = torch.zeros(streams, network.front_end.path_count, device=device)

    def front_end() -> None:
        y, after = network.front_end.step(audio, states.front_end.gather(rows))
        states.front_end.scatter(rows, after)
        frames.copy_(y[:, 0])

    def gru() -> None:
        y, after = network.recurrent.frame(network.normalization(frames), states.hidden.gather(rows))
        states.hidden.scatter(rows, after)
        probs.copy_(torch.sigmoid(network.head(y)))

    capture: Callable[[Callable[[], None]], Callable[[], None]] = (
        CudaGraphs(device).capture if device.type == "cuda" else lambda work: work
    )
    parts: dict[str, Callable[[], object]] = {
        "copy_in": lambda: audio.copy_(host, non_blocking=True),
        "front_end": capture(front_end),
        "gru": capture(gru),
        "copy_out": lambda: results.copy_(probs, non_blocking=True),
    }
    repeats = settings.size(50, 2)
    taken = {name: float(np.median(seconds_each(work, repeats))) for name, work in parts.items()}
    batched, samples, order = BatchedTagger(network, streams), noise(streams, HOP), np.arange(streams)
    whole = float(np.median(seconds_each(lambda: batched.step(samples, order), repeats)))
    shares = {f"{name}_share": seconds / whole for name, seconds in taken.items()}
    rest = max(0.0, 1 - sum(shares.values()))
    report.write(f"a hop of {streams} streams", ms=1e3 * whole, **shares, rest_share=rest)


def _search_network(report: Report, settings: Settings, network: TaggerNetwork) -> None:
    """Double the number of streams until a trial fails, then halve the interval."""
    most = settings.size(1 << 16, 8)
    batched, audio = BatchedTagger(network, most), noise(most, HOP)
    report.write("memory", device_bytes_per_stream=batched.row_bytes, peak_gib=peak_memory_gib(), rows=most)
    for size in (1 << n for n in range(MAX_BATCH.bit_length())):  # captured before anything is timed
        batched.step(audio[: min(size, most)], np.arange(min(size, most)))
    passed, failed, streams, seconds = 0, 0, settings.size(4096, 4), settings.size(2.0, 0.6)
    for _ in range(64):
        delays = _feed_by_the_clock(batched, audio, streams, seconds)
        p99 = float(np.percentile(delays, 99))
        name = f"network alone, {streams} streams"
        report.write(name, **_percentiles_ms(delays), passed=p99 < DEADLINE_S, hops=len(delays))
        if p99 < DEADLINE_S:
            passed = streams
        else:
            failed = streams
        if not failed and passed == most:
            break
        if failed and failed - passed <= max(1, passed // 2**SEARCH_STEPS):
            break
        streams = (passed + failed) // 2 if failed else min(2 * passed, most)
    report.write(
        "network alone", streams=passed, bound=f"{failed} failed" if failed else "more were not tried",
        peak_gib=peak_memory_gib(),
    )  # fmt: skip


def _feed_by_the_clock(
    batched: BatchedTagger, audio: NDArray[np.float32], streams: int, seconds: float
) -> NDArray[np.float64]:
    """Return the delays from each hop that became ready in so many seconds to its probabilities on the host."""
    hop_s = HOP / 16000
    total, done = int(streams * seconds / hop_s), 0
    delays: list[NDArray[np.float64]] = [np.zeros(0)]
    start = time.monotonic()
    while done < total:
        ready = min(total, int((time.monotonic() - start) / hop_s * streams), done + streams)
        if ready == done:
            time.sleep(2e-4)
            continue
        hops = np.arange(done, ready)
        batched.step(audio[: len(hops)], hops % streams)
        delays.append(np.asarray(time.monotonic() - start - (hops + 1) * (hop_s / streams), np.float64))
        done = ready
        if delays[-1][0] > OVERLOAD_S:
            break
    return np.concatenate(delays)


def _search_scheduler(report: Report, settings: Settings, network: TaggerNetwork) -> None:
    spec = network.spec
    schedule = LoadSchedule(spec.hop_s, spec.lookahead_s, settings.size(1.5, 0.2), settings.size(4.0, 0.6))
    config = SchedulerConfig(workers=1, batch=settings.size(MAX_BATCH, 4))
    trial = partial(scheduler_trial, DeviceTagger(network), schedule, config=config)
    first, most, limit_s = settings.size((1024, 1 << 15, SCHEDULER_SEARCH_S), (1, 2, 5.0))

    def show(line: str) -> None:
        report.write("scheduler, a trial", result=line)

    found = search(trial, first, most, limit_s, show)
    del found["trials"]
    report.write("scheduler", **found)


def _percentiles_ms(seconds: list[float] | NDArray[np.float64]) -> dict[str, float]:
    values = np.percentile(1e3 * np.asarray(seconds), [50, 99, 100])
    return {f"{name}_ms": float(value) for name, value in zip(("p50", "p99", "max"), values, strict=True)}
