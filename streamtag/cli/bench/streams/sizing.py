"""What more streams would need: arithmetic from what was measured here, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamtag.cli.bench.measure import Figures

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
