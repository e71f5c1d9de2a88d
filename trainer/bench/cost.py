"""What a system costs: the time and memory of its training, and a stream's time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from streamtag.model import TaggerNetwork
from streamtag.model.batched import BatchedTagger, torch_threads
from trainer.bench.measure import peak_bytes, reset_peak
from trainer.bench.training import time_steps
from trainer.train.config import TrainConfig
from trainer.train.dataset import TrainingData
from trainer.train.loop import Run

STEPS = 2  # that are timed
WARM_UP_S = 30.0  # after which windows of 29 s are full
MEASURED_S = 10.0


def training_cost(config: TrainConfig, data: TrainingData, device: torch.device) -> tuple[float, int | None]:
    """Return the seconds that all steps of a training take, and its memory in bytes beside the data.

    Trains for some steps and drops the result, so that neither other load at the time of the training nor an
    interruption counts. The memory is that of weights, moments and what a step keeps for its gradients, or None.
    """
    before = reset_peak(device)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", config, data, device)
        step_s, _ = time_steps(run, STEPS)
        seconds, after = step_s * run.batches.steps() * config.epochs, peak_bytes(device)
    return seconds, None if before is None or after is None else max(0, after - before)


def stream_s(tagger: TaggerNetwork) -> float:
    """Return the CPU seconds of one thread per second of audio, for one stream of noise, hop by hop."""
    spec = tagger.spec
    hops, rows = BatchedTagger(tagger, 1), np.zeros(1, dtype=np.int64)
    audio = np.random.default_rng(0).normal(0.0, 0.1, (1, spec.hop)).astype(np.float32)

    def run(seconds: float) -> float:
        count, began = max(1, round(seconds / spec.hop_s)), time.process_time()
        for _ in range(count):
            hops.step(audio, rows)
        return (time.process_time() - began) / (count * spec.hop_s)

    with torch_threads(1):
        run(WARM_UP_S)
        return run(MEASURED_S)
