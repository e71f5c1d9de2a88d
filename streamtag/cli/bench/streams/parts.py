"""Where a hop's time goes: the parts of the engine's work, timed by themselves at the size of batch that was found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.audio.resample import Resampler
from streamtag.cli.bench.measure import Figures, music
from streamtag.cli.bench.streams.pace import PIECE_S, Pace, chunks
from streamtag.model.batched import BatchedTagger
from streamtag.protocol.messages import Frame
from streamtag.scheduler.pcm_format import PcmFormat

if TYPE_CHECKING:
    from streamtag.api import Tagger

SECONDS = 3.0  # for which each part is repeated
ROUNDS = 3  # steps at the start that do not count


class TimedHopStep(BatchedTagger):
    """Keeps the time that its two halves take, s: of their thread's own, whatever else the machine does, or on a GPU
    by the clock, where they run by themselves here, not recorded as one."""

    scattering_s = 0.0
    tagging_s = 0.0

    @torch.inference_mode()
    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._batcher is None:
            return super().step(audio, rows)
        device = self._device
        return self.step_tensors(torch.from_numpy(audio).to(device), torch.from_numpy(rows).to(device)).cpu().numpy()

    def _scatter(self, audio: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        began = _spent(audio)
        frames = super()._scatter(audio, rows)
        self.scattering_s += _spent(audio) - began
        return frames

    def _tag(self, frames: Tensor, starting: Tensor, rows: Tensor) -> Tensor:
        began = _spent(frames)
        probabilities = super()._tag(frames, starting, rows)
        self.tagging_s += _spent(frames) - began
        return probabilities


def parts(
    tagger: Tagger, pace: Pace, batch: int, workers: int, seconds: float = SECONDS, precision: str = "float32"
) -> Figures:
    """ms of one worker for a hop of one stream, while the other workers do the same. batch: streams of a step.

    scattering, gru: with their state, out of the slabs and back. ingest: from a producer's bytes to samples.
    message: from probabilities to JSON.
    """
    scattering, gru = _network(tagger, batch, workers, seconds, precision)
    return {
        "batch": batch,
        "scattering_ms_a_hop": scattering,
        "gru_ms_a_hop": gru,
        "ingest_ms_a_hop": _ingest(pace, seconds / 4),
        "message_ms_a_hop": _message(tagger, seconds / 4),
    }


def _network(tagger: Tagger, batch: int, workers: int, seconds: float, precision: str) -> tuple[float, float]:
    """ms of scattering and of the rest, for a hop of a stream: means over workers that step at the same time."""
    hop, sound = tagger.network.spec.hop, music(PIECE_S)
    networks = [TimedHopStep(tagger.network, batch, precision) for _ in range(workers)]
    hops = [0] * workers
    ready = threading.Barrier(workers)

    def work(worker: int) -> None:
        torch.set_num_threads(1)  # this thread's own
        network, rows, turn = networks[worker], np.arange(batch), 0
        until = float("inf")
        while time.perf_counter() < until:
            places = [(7 * row + worker + turn) % (len(sound) // hop) * hop for row in range(batch)]
            network.step(np.stack([sound[place : place + hop] for place in places]), rows)
            turn += 1
            if turn == ROUNDS:
                ready.wait()
                network.scattering_s = network.tagging_s = 0.0
                until = time.perf_counter() + seconds
            elif turn > ROUNDS:
                hops[worker] += batch

    threads = [threading.Thread(target=work, args=(worker,), name="bench-part") for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = max(1, sum(hops))
    scattering = sum(network.scattering_s for network in networks)
    tagging = sum(network.tagging_s for network in networks)
    return 1e3 * scattering / total, 1e3 * tagging / total


def _ingest(pace: Pace, seconds: float) -> float:
    format, resampler, sound = PcmFormat(pace.rate, "s16le", 1), Resampler(pace.rate), chunks(pace)
    each = _repeat(lambda turn: resampler.feed(format.decode(sound[turn % len(sound)])), seconds)
    return 1e3 * each * pace.hop_s / pace.period_s


def _message(tagger: Tagger, seconds: float) -> float:
    row = np.linspace(0, 1, len(tagger.tags), dtype=np.float32)

    def make(turn: int) -> str:
        tags = dict(zip(tagger.tags, row.tolist(), strict=True))
        return Frame("bench", turn, 0.256 * turn, 0.256 * turn + 0.512, tags, 0.4).to_json()

    return 1e3 * _repeat(make, seconds)


def _repeat(work: Callable[[int], object], seconds: float) -> float:
    """-> s of this thread for one call."""
    until, began, turn = time.perf_counter() + seconds, time.thread_time(), 0
    while time.perf_counter() < until:
        work(turn)
        turn += 1
    return (time.thread_time() - began) / max(1, turn)


def _spent(tensor: Tensor) -> float:
    """s so far: on a GPU, which works on while its caller does, when all that was asked for is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
        return time.perf_counter()
    return time.thread_time()
