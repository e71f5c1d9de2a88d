"""A stand-in for CUDA graphs on a CPU."""

from __future__ import annotations

from streamtag.model.cuda_graphs import WARM_UP_RUNS, Work


class FakeCapture:
    """Captures work by remembering it: a replay reads and writes the same tensors as a graph, in the same order."""

    def __init__(self) -> None:
        self.captures = self.replays = self.waits = 0

    def capture(self, work: Work) -> Work:
        self.captures += 1
        for _ in range(WARM_UP_RUNS):
            work()

        def replay() -> None:
            self.replays += 1
            work()

        return replay

    def wait(self) -> None:
        self.waits += 1
