"""How a batch of streams is spread over the machine."""

from __future__ import annotations

from dataclasses import dataclass

from streamtag.inference.worker_pool import available
from streamtag.text import usable_cores


@dataclass(frozen=True)
class ParallelismPlan:
    """processes: that compute, one a core; None: the threads do it. threads: of the engine; beside processes two more
    than these, which prepare what comes next while they work."""

    processes: int | None
    threads: int

    @property
    def cores(self) -> int:
        """That are used."""
        return self.processes or self.threads

    @classmethod
    def of(cls, device: str, workers: int | None = None) -> ParallelismPlan:
        """workers: cores that are to be used; None: all that this process may use. A GPU needs one thread."""
        if device != "cpu":
            return cls(None, workers or 1)
        count = workers or usable_cores()
        return cls(count, count + 2) if available() else cls(None, count)
