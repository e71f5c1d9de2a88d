"""What more streams would need: arithmetic from what was measured here, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamtag.commands.bench_streams.tally import Trial
from streamtag.commands.measure import Figures

CORES = 64  # of a machine to reckon with
WANTED = (10_000, 1_000_000)


@dataclass(frozen=True)
class Sizing:
    """per_core: streams that a core held, producers on the same cores. kib: memory that one more stream took.
    kbit_in, kbit_out: of network for a stream; out: its own frames to its producer alone.
    """

    per_core: float
    kib: float
    kbit_in: float
    kbit_out: float

    def figures(self) -> Figures:
        """For so many streams: cores, machines, memory, network."""
        figures: Figures = {
            "streams_a_core": self.per_core,
            "kib_a_stream": self.kib,
            "kbit_a_second_in_a_stream": self.kbit_in,
            "kbit_a_second_out_a_stream": self.kbit_out,
        }
        for wanted in WANTED:
            cores = math.ceil(wanted / self.per_core) if self.per_core > 0 else 0
            figures[f"{wanted}_streams"] = (
                f"{cores} cores ({math.ceil(cores / CORES)} machines of {CORES}), "
                f"{wanted * self.kib / 2**20:.3g} GiB of memory beside the models, "
                f"{wanted * self.kbit_in / 1e6:.3g} Gbit/s in, {wanted * self.kbit_out / 1e6:.3g} Gbit/s out"
            )
        return figures


def slope(trials: Sequence[Trial], name: str) -> float:
    """By how much the figure grows with each stream: a line through all trials; nan if there is but one number."""
    points = [(trial.streams, trial.more[name]) for trial in trials if name in trial.more]
    if len({streams for streams, _ in points}) < 2:
        return float("nan")
    streams, values = np.array(points, float).T
    return float(np.polyfit(streams, values, 1)[0])
