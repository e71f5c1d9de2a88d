"""What came of a trial: when frames came, in which order, and whether the machine held so many streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.cli.bench.streams.pace import Pace

DEADLINE_S = 0.256  # from hop ready to message, for 99 % of the frames


@dataclass(frozen=True)
class Trial:
    """So many streams for a while. after: s from hop ready to message, of every frame that was counted and came.

    missing, repeated: frames that did not come, or came twice or out of order. gaps: told. refused: streams that
    were not let in, or broke off. late: s by which those who push were too late themselves. more: other figures.
    """

    streams: int
    after: NDArray[np.float64]
    missing: int = 0
    repeated: int = 0
    gaps: int = 0
    refused: int = 0
    late: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.after, 99)) if len(self.after) else float("inf")

    @property
    def lossless(self) -> bool:
        return not (self.missing or self.repeated or self.gaps or self.refused)

    @property
    def held(self) -> bool:
        """By the rule: no frame lost, and 99 % of them in time."""
        return self.lossless and self.p99_s < DEADLINE_S

    @property
    def about(self) -> str:
        """A line for people."""
        troubles = [
            f"{count} {name}"
            for count, name in (
                (self.missing, "frames missing"),
                (self.repeated, "frames repeated"),
                (self.gaps, "gaps"),
                (self.refused, "streams refused"),
            )
            if count
        ]
        p99 = f"p99 {1e3 * self.p99_s:.0f} ms" if len(self.after) else "nothing came"
        return f"{self.streams}: {'held' if self.held else 'not held'}, {', '.join([p99, *troubles])}"

    def figures(self) -> dict[str, Any]:
        after = 1e3 * (self.after if len(self.after) else np.array([np.inf]))
        p50, p95, p99 = np.percentile(after, [50, 95, 99]).tolist()
        return {
            "ready_to_message_p50_ms": p50,
            "ready_to_message_p95_ms": p95,
            "ready_to_message_p99_ms": p99,
            "ready_to_message_max_ms": float(after.max()),
            "frames": len(self.after),
            "pushed_late_p99_ms": 1e3 * float(np.percentile(self.late, 99)) if len(self.late) else 0.0,
            **self.more,
        }


class Tally:
    """Collects the frames of a trial. Each stream's come from one thread at a time."""

    def __init__(self, pace: Pace, streams: Iterable[int], before: Mapping[int, int] | None = None) -> None:
        """before: chunks that a stream had before the start, where it had some."""
        self._pace = pace
        self._before = {stream: (before or {}).get(stream, 0) for stream in streams}
        self._came: dict[int, list[tuple[int, float]]] = {stream: [] for stream in self._before}
        self._gaps: list[int] = []
        self._refused: set[int] = set()

    def frame(self, stream: int, number: int, when: float) -> None:
        """when: on time.monotonic()."""
        self._came[stream].append((number, when))

    def gap(self, stream: int) -> None:
        self._gaps.append(stream)

    def refuse(self, stream: int) -> None:
        """It was not let in, or broke off."""
        self._refused.add(stream)

    def complete(self) -> bool:
        """Whether the last of the counted frames of all streams is there."""
        for stream, before in self._before.items():
            expected = self._pace.expected(stream, before)
            came = self._came[stream]
            if expected and not (came and came[-1][0] >= expected[-1]):
                return False
        return True

    def trial(self, start: float, late: Iterable[float] = (), **more: Any) -> Trial:
        """start: of the pace, on time.monotonic()."""
        after: list[float] = []
        missing = repeated = 0
        for stream, before in self._before.items():
            numbers = [number for number, _ in self._came[stream]]
            repeated += sum(b <= a for a, b in pairwise(numbers))
            missing += sum(max(0, b - a - 1) for a, b in pairwise(numbers))
            times = dict(self._came[stream])
            expected = self._pace.expected(stream, before)
            missing += sum(not numbers or number < numbers[0] or number > numbers[-1] for number in expected)
            after += [
                times[number] - start - self._pace.ready(stream, number, before)
                for number in expected
                if number in times
            ]
        return Trial(
            len(self._before),
            np.array(after),
            missing,
            repeated,
            len(self._gaps),
            len(self._refused),
            np.array(list(late)),
            more,
        )
