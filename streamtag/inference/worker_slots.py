"""Which of several processes does the next step."""

from __future__ import annotations

from threading import Condition


class WorkerSlots:
    """Each process has a few lanes: one for the step that it does, the others for steps that wait at its door, so
    that it never has to wait itself. Any thread may use it."""

    def __init__(self, processes: int, each: int) -> None:
        self._each = each
        self._free = [list(range(each)) for _ in range(processes)]
        self._turns = [0] * processes  # when each was given something last
        self._turn = 0
        self._lost: set[int] = set()
        self._changed = Condition()

    @property
    def taken(self) -> int:
        """Of all processes."""
        with self._changed:
            return self._each * len(self._free) - sum(map(len, self._free))

    def take(self) -> tuple[int, int]:
        """-> a process and its lane: of one that has nothing to do, or else of the one that will be done first. Waits
        until a lane is free."""
        with self._changed:
            number = max(self._changed.wait_for(self._open), key=self._rank)
            self._turn += 1
            self._turns[number] = self._turn
            return number, self._free[number].pop()

    def give(self, number: int, lane: int, lost: bool) -> bool:
        """It is free again. lost: the process is; then it is given nothing until `restore`. -> whether it is lost and
        has no more lanes in use: whoever hears that has to replace it."""
        with self._changed:
            self._free[number].append(lane)
            if lost:
                self._lost.add(number)
            self._changed.notify()
            return number in self._lost and len(self._free[number]) == self._each

    def restore(self, number: int) -> None:
        """Another process has taken its place."""
        with self._changed:
            self._lost.discard(number)
            self._changed.notify_all()

    def _open(self) -> list[int]:
        return [number for number, free in enumerate(self._free) if free and number not in self._lost]

    def _rank(self, number: int) -> tuple[int, int]:
        """Of idle ones the last that worked comes first, whose caches are warm; of others the first that began."""
        free, turn = len(self._free[number]), self._turns[number]
        return free, turn if free == self._each else -turn
