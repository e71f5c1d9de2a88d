"""A day of a server in little: producers that come, go, stall, come back and misbehave. A process of its own.

python -m tests.soak.churn MODEL SECONDS [SHARE [MOST [FAULTS]]] prints one line of JSON: what was seen, and how the
server's memory went. SHARE: of the server's capacity that is taken up all the time (0.8); MOST: streams that this is,
whatever the machine could hold (0: what the server measures counts); FAULTS: those of faulty_serve.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamtag.api import load
from streamtag.cli.bench.figures import one_thread
from tests.benchmarks.process import program_mib, stop
from tests.benchmarks.sockets import Serving, serving
from tests.soak.account import Account, compose
from tests.soak.line import RefusedError
from tests.soak.nuisance import annoy, ignore
from tests.soak.visits import visit

COMPARED = 60  # visits whose frames are compared with a single session's
STAY_S = 12.0  # a visit, about; a third of the whole if that is shorter
KNOWN = 0.1  # of the run after which the server knows what its work costs: then the share is taken of what it says now
SETTLED = 0.4  # of the run after which memory should not grow any more
SAMPLES = 200  # of memory, or one every half second
DEAF = 3  # subscribers to everything who never read
EMPTY_S = 20.0  # for the server to have no streams any more
TOLD = 300  # problems that are told at most


class Churn:
    """All who use the server, and what they saw."""

    def __init__(self, server: Serving, seconds: float, share: float, seats: int) -> None:
        self._server = server
        self._address = f"ws://127.0.0.1:{server.port}"
        self._seconds = seconds
        self._share = share
        self.seats = seats
        self._chance = random.Random(5)
        self._until = 0.0
        self._comparable = 0
        self.kinds: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.annoyed: Counter[str] = Counter()
        self.problems: list[str] = []
        self.frames = self.dropped = self.gaps = 0
        self.unforeseen: list[str] = []
        self.kept: list[Account] = []

    async def run(self) -> None:
        over = asyncio.Event()
        stay = min(STAY_S, self._seconds / 3)
        self._until = time.monotonic() + self._seconds
        async with asyncio.TaskGroup() as everybody:
            for seat in range(self.seats):
                everybody.create_task(self._seat(seat, stay, over))
            for _ in range(DEAF):
                everybody.create_task(ignore(self._address, over))
            everybody.create_task(annoy(self._address, over, self.annoyed, self.problems))
            await asyncio.sleep(KNOWN * self._seconds)
            health = json.loads(await asyncio.to_thread(self._server.get, "/health"))
            self.seats = min(self.seats, max(1, int(self._share * health["capacity"])))
            await asyncio.sleep((1 - KNOWN) * self._seconds)
            over.set()

    async def _seat(self, seat: int, stay_s: float, over: asyncio.Event) -> None:
        """One visit after the other."""
        await asyncio.sleep(stay_s * random.Random(seat).random() / 2)
        turn = 0
        while seat < self.seats and not over.is_set():
            turn += 1
            left_s = self._until - time.monotonic()
            try:
                kind, account = await visit(self._address, f"seat {seat} · {turn}", stay_s, left_s, over)
            except RefusedError as error:
                self.refused[str(error.status)] += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), error.retry_after_s)
                continue
            self._settle(kind, account)

    def _settle(self, kind: str, account: Account) -> None:
        self.kinds[kind] += 1
        self.frames += len(account.frames)
        self.dropped += sum(frame.dropped for frame in account.frames)
        self.gaps += len(account.gaps)
        left_s = self._until - time.monotonic()
        self.unforeseen += [f"{left_s:.0f} s before the end: {account.name}: {gap}" for gap in account.unforeseen()]
        self.problems += [f"{kind}: {problem}" for problem in (*account.check(), *account.not_told())]
        if account.comparable:
            self._comparable += 1
            if len(self.kept) < COMPARED:
                self.kept.append(account)
            elif self._chance.random() < COMPARED / self._comparable:  # any is as likely as any other
                self.kept[self._chance.randrange(COMPARED)] = account


class Memory:
    """The server's and its worker processes', measured every so often while a context manager is open."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid = pid
        self._seconds = seconds
        self._every = max(0.5, seconds / SAMPLES)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.at_s: list[float] = []
        self.mib: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def an_hour(self) -> float:
        """MiB that it grows an hour, by a line through what was measured once all had settled, and before the end."""
        points = [point for point in zip(self.at_s, self.mib, strict=True) if SETTLED <= point[0] / self._seconds <= 1]
        at_s, mib = np.array(points).T
        slope, _ = np.polyfit(at_s, mib, 1)
        return float(3600 * slope)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(self._every):
            self.at_s.append(time.monotonic() - began)
            self.mib.append(program_mib(self._pid))


def soak(model: Path, seconds: float, share: float, most: int, faults: str) -> dict[str, Any]:
    """-> what was seen."""
    program = ("tests.soak.faulty_serve", faults) if faults else ("streamtag.cli",)
    room = ["--max-clients", "4096", "--max-producers-per-client", "4096"]
    room += ["--max-streams", str(math.ceil(most / share))] if most else []
    compose()
    with serving(model, "cpu", *room, program=program) as server:
        capacity = json.loads(server.get("/health"))["capacity"]
        seats = most or max(1, int(share * capacity))
        churn = Churn(server, seconds, share, seats)
        cpu_s = time.process_time()
        with Memory(server.pid, seconds) as memory:
            asyncio.run(churn.run())
        cpu_s = time.process_time() - cpu_s
        problems = [*churn.problems, *([] if faults else _emptied(server))]
        stop(server.process)
        if server.process.returncode not in (0, 130) or "Traceback" in server.stderr:
            problems.append(f"the server ended with {server.process.returncode}: {server.stderr[-2000:]}")
    different, compared = compare(model, churn.kept)
    return {
        "seconds": seconds,
        "capacity": capacity,
        "seats_at_first": seats,
        "seats": churn.seats,
        "visits": churn.kinds,
        "own_cpu_percent_of_a_core": 100 * cpu_s / seconds,
        "refused": churn.refused,
        "annoyed": churn.annoyed,
        "frames": churn.frames,
        "dropped": churn.dropped,
        "gaps": churn.gaps,
        "unforeseen_gaps": len(churn.unforeseen),
        "unforeseen": churn.unforeseen[:TOLD],
        "compared_frames": compared,
        "different": different[:TOLD],
        "problems": problems[:TOLD],
        "all_problems": len(problems),
        "mib_an_hour": memory.an_hour,
        "mib": [round(mib, 1) for mib in memory.mib],
    }


def compare(model: Path, accounts: Sequence[Account]) -> tuple[list[str], int]:
    """-> frames that are not those of a single session that hears the same, and how many were looked at."""
    tagger = load(model, "cpu")
    with one_thread():
        found = [problem for account in accounts for problem in account.differs(tagger)]
    return found, sum(len(account.frames) for account in accounts)


def _emptied(server: Serving) -> list[str]:
    """Waits until the server has no streams any more."""
    until = time.monotonic() + EMPTY_S
    while (left := _streams(server)) and time.monotonic() < until:
        time.sleep(0.25)
    return [f"{left} streams are left"] if left else []


def _streams(server: Serving) -> int:
    health = json.loads(server.get("/health"))
    return int(health["running"]) + int(health["away"])


def main(model: str, seconds: str, share: str = "0.8", most: str = "0", faults: str = "") -> None:
    print(json.dumps(soak(Path(model), float(seconds), float(share), int(most), faults)))


if __name__ == "__main__":
    main(*sys.argv[1:])
