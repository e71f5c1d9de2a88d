"""The result of feeding so many streams: when their frames came, in which order, and whether none was lost or late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.cli.bench.schedule import LoadSchedule

DEADLINE_S = 0.256  # from the push of a frame's last sample to its message, for 99 % of the frames


@dataclass(frozen=True)
class Trial:
    """The figures of one trial.

    delays_s: from the push of a frame's last sample to its message, for every counted frame that came. missing,
    repeated: frames that did not come, or came twice or out of order. refused: streams that were not admitted or
    broke off. late_s: by how much each push itself was late. figures: other figures.
    """

    streams: int
    delays_s: NDArray[np.float64]
    missing: int = 0
    repeated: int = 0
    gaps: int = 0
    refused: int = 0
    late_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.delays_s, 99)) if len(self.delays_s) else float("inf")

    @property
    def is_lossless(self) -> bool:
        return not (self.missing or self.repeated or self.gaps or self.refused)

    @property
    def passed(self) -> bool:
        """True if no frame was lost and 99 % of them were in time."""
        return self.is_lossless and self.p99_s < DEADLINE_S

    @property
    def description(self) -> str:
        """One line for people."""
        counts = {
            "frames missing": self.missing,
            "frames repeated": self.repeated,
            "gaps": self.gaps,
            "streams refused": self.refused,
        }
        problems = [f"{count} {name}" for name, count in counts.items() if count]
        p99 = f"p99 {1e3 * self.p99_s:.0f} ms" if len(self.delays_s) else "no frames"
        return f"{self.streams}: {'passed' if self.passed else 'failed'}, {', '.join([p99, *problems])}"

    def to_figures(self) -> dict[str, Any]:
        delays_ms = 1e3 * (self.delays_s if len(self.delays_s) else np.array([np.inf]))
        p50, p95, p99 = np.percentile(delays_ms, [50, 95, 99]).tolist()
        return {
            "ready_to_message_p50_ms": p50,
            "ready_to_message_p95_ms": p95,
            "ready_to_message_p99_ms": p99,
            "ready_to_message_max_ms": float(delays_ms.max()),
            "frames": len(self.delays_s),
            "pushed_late_p99_ms": 1e3 * float(np.percentile(self.late_s, 99)) if len(self.late_s) else 0.0,
            **self.figures,
        }


class TrialRecorder:
    """Collects the frames of a trial; each stream's must come from one thread at a time."""

    def __init__(self, schedule: LoadSchedule, streams: Iterable[int]) -> None:
        self._schedule = schedule
        self._arrivals: dict[int, list[tuple[int, float]]] = {stream: [] for stream in streams}
        self._gaps: list[int] = []
        self._refused: set[int] = set()

    def add_frame(self, stream: int, number: int, when: float) -> None:
        """when: on time.monotonic()."""
        self._arrivals[stream].append((number, when))

    def add_gap(self, stream: int) -> None:
        self._gaps.append(stream)

    def refuse(self, stream: int) -> None:
        """Note that the stream was not admitted or broke off."""
        self._refused.add(stream)

    @property
    def is_complete(self) -> bool:
        """True if the last counted frame of every stream has come."""
        for stream, arrivals in self._arrivals.items():
            expected = self._schedule.expected(stream)
            if expected and not (arrivals and arrivals[-1][0] >= expected[-1]):
                return False
        return True

    def trial(self, start: float, late_s: Iterable[float] = (), **figures: Any) -> Trial:
        """start: of the schedule, on time.monotonic()."""
        delays_s: list[float] = []
        missing = repeated = 0
        for stream, arrivals in self._arrivals.items():
            numbers = [number for number, _ in arrivals]
            repeated += sum(b <= a for a, b in pairwise(numbers))
            missing += sum(max(0, b - a - 1) for a, b in pairwise(numbers))
            times = dict(arrivals)
            for number in self._schedule.expected(stream):
                missing += not numbers or not numbers[0] <= number <= numbers[-1]
                if number in times:
                    delays_s.append(times[number] - start - self._schedule.ready(stream, number))
        counts = missing, repeated, len(self._gaps), len(self._refused)
        return Trial(len(self._arrivals), np.array(delays_s), *counts, np.array(list(late_s)), figures)
