"""Producers that come, go, stall, return and misbehave at a server, in a process of its own.

python -m tests.soak.churn MODEL SECONDS MAX_STREAMS [FAULTS] prints one JSON object. MAX_STREAMS: at a time (0: 80 % of
what the server can hold); FAULTS: those of faulty_serve.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamtag.api import load
from streamtag.errors import StreamtagError
from streamtag.model.batched import torch_threads
from tests.benchmarks.process import mib_per_hour, program_cpu_s, program_mib, stop
from tests.benchmarks.sockets import Serving, serving
from tests.soak.clients import RefusedError, never_read, send_bad_requests
from tests.soak.scenarios import visit
from tests.soak.stream_record import StreamRecord, excerpts

LOAD = 0.8  # of the server's capacity
MAX_COMPARED = 60  # streams whose frames are compared with a single session's
MAX_DURATION_S = 12.0  # of a visit, about; a third of the run if that is shorter
UNREAD_SUBSCRIBERS = 3
EMPTY_TIMEOUT_S = 20.0
IDLE_TIMEOUT_S, IDLE_INTERVAL_S = 120.0, 1.0
IDLE_LOAD = 0.1  # of a core
MAX_PROBLEMS = 100  # in the output


class Churn:
    """All clients of the server, and what they observed."""

    def __init__(self, server: Serving, seconds: float) -> None:
        self._server, self._seconds = server, seconds
        self._address = f"ws://127.0.0.1:{server.port}"
        self._rng = random.Random(5)
        self.memory: list[tuple[float, float]] = []
        self.scenarios: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.bad_requests: Counter[str] = Counter()
        self.problems: list[str] = []
        self.comparable: list[StreamRecord] = []
        self.gaps = self.unexpected_gaps = 0

    async def run(self, places: int) -> None:
        stop = asyncio.Event()
        began = time.monotonic()
        async with asyncio.TaskGroup() as clients:
            for place in range(places):
                clients.create_task(self._visits(place, began + self._seconds, stop))
            for _ in range(UNREAD_SUBSCRIBERS):
                clients.create_task(never_read(self._address, stop))
            clients.create_task(send_bad_requests(self._address, stop, self.bad_requests, self.problems))
            while (passed_s := time.monotonic() - began) < self._seconds:
                self.memory.append((passed_s, program_mib(self._server.pid)))
                await asyncio.sleep(max(0.5, self._seconds / 200))
            stop.set()

    async def _visits(self, place: int, end: float, stop: asyncio.Event) -> None:
        """Run one visit after the other."""
        duration_s = min(MAX_DURATION_S, self._seconds / 3)
        await asyncio.sleep(duration_s * random.Random(place).random() / 2)
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                left_s = end - time.monotonic()
                scenario, record = await visit(self._address, f"place {place} · {turn}", duration_s, left_s, stop)
            except RefusedError as error:
                self.refused[str(error.status)] += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), error.retry_after_s)
            else:
                self._add(scenario, record)

    def _add(self, scenario: str, record: StreamRecord) -> None:
        self.scenarios[scenario] += 1
        self.problems += [f"{scenario}: {problem}" for problem in [*record.check(), *record.missing_gaps()]]
        self.gaps += len(record.gaps)
        self.unexpected_gaps += len(record.unexpected_gaps())
        if record.is_comparable:
            self.comparable.append(record)
            if len(self.comparable) > MAX_COMPARED:
                self.comparable.pop(self._rng.randrange(len(self.comparable)))


def run(model: Path, seconds: float, max_streams: int, faults: str) -> dict[str, Any]:
    """Return what was observed."""
    program = ("tests.soak.faulty_serve", faults) if faults else ("streamtag.cli",)
    options = ["--max-clients", "4096", "--max-producers-per-client", "4096"]
    options += ["--max-streams", str(math.ceil(max_streams / LOAD))] if max_streams else []
    excerpts()  # they take a while to generate
    with serving(model, "cpu", *options, program=program) as server:
        _wait_until_idle(server)
        capacity = json.loads(server.get("/health"))["capacity"]
        churn, places = Churn(server, seconds), max_streams or max(1, int(LOAD * capacity))
        asyncio.run(churn.run(places))
        problems = [*churn.problems, *([] if faults else _remaining_streams(server))]
        stop(server.process)
        if server.process.returncode not in (0, 130) or "Traceback" in server.stderr:
            problems.append(f"the server ended with {server.process.returncode}: {server.stderr[-2000:]}")
    tagger = load(model, "cpu")
    with torch_threads(1):
        wrong_frames = [problem for record in churn.comparable for problem in record.wrong_frames(tagger)]
    return {
        "seconds": seconds,
        "capacity": capacity,
        "scenarios": churn.scenarios,
        "places": places,
        "refused": churn.refused,
        "bad_requests": churn.bad_requests,
        "gaps": churn.gaps,
        "unexpected_gaps": churn.unexpected_gaps,
        "compared_frames": sum(len(record.frames) for record in churn.comparable),
        "wrong_frames": wrong_frames[:MAX_PROBLEMS],
        "problems": problems[:MAX_PROBLEMS],
        "all_problems": len(problems),
        "mib_per_hour": mib_per_hour(churn.memory),
    }


def _wait_until_idle(server: Serving) -> None:
    """Wait until its worker processes have started and the capacity is measured: what that takes is no growth."""
    deadline, before_s = time.monotonic() + IDLE_TIMEOUT_S, program_cpu_s(server.pid)
    while True:
        time.sleep(IDLE_INTERVAL_S)
        now_s = program_cpu_s(server.pid)
        if now_s - before_s < IDLE_LOAD * IDLE_INTERVAL_S:
            return
        if time.monotonic() > deadline:
            raise StreamtagError("the server computes although it has no streams")
        before_s = now_s


def _remaining_streams(server: Serving) -> list[str]:
    """Wait until the server has no streams any more."""
    deadline = time.monotonic() + EMPTY_TIMEOUT_S
    while True:
        health = json.loads(server.get("/health"))
        if not (left := int(health["running"]) + int(health["away"])):
            return []
        if time.monotonic() > deadline:
            return [f"{left} streams are left"]
        time.sleep(0.25)


if __name__ == "__main__":
    model, seconds, max_streams, *faults = sys.argv[1:]
    print(json.dumps(run(Path(model), float(seconds), int(max_streams), "".join(faults))))
