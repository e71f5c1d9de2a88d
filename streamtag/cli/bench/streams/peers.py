"""The peer: a process of `streamtag listen --from -` for every stream. They stay from trial to trial."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from streamtag.cli.bench.streams.pace import FAREWELL_S, NAP_S, Pace, chunks, place
from streamtag.cli.bench.streams.process import Window, cpu_s, free_mib, resident_mib
from streamtag.cli.bench.streams.producers import FRAME, GAP, NUMBER
from streamtag.cli.bench.streams.tally import Tally, Trial
from streamtag.errors import StreamtagError

T = TypeVar("T")
TOGETHER = 4  # processes that start at once
START_S = 120.0  # for one of them
SETTLE_S = 20.0  # for what is late when a trial is over
SPARE_MIB = 2048.0  # of memory that is left to others


class Peer:
    """One process and its stream. fed: chunks so far. frames: the last one's number, -1 before."""

    def __init__(self, process: asyncio.subprocess.Process, stream: int) -> None:
        self._process = process
        self.stream = stream
        self.fed = 0
        self.last = -1
        self.tally: Tally | None = None
        self.started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    def push(self, chunk: bytes) -> None:
        self.fed += 1
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(chunk)

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self.reading

    async def _read(self) -> None:
        """Notes frames until the process ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            now = time.monotonic()
            if not self.started.done():
                self.started.set_result(True)  # with its hello: it has loaded the model
            if line.startswith(FRAME):
                at = line.index(NUMBER, len(FRAME)) + len(NUMBER)
                self.last = int(line[at : line.index(b",", at)])
                if self.tally is not None:
                    self.tally.frame(self.stream, self.last, now)
            elif line.startswith(GAP) and self.tally is not None:
                self.tally.gap(self.stream)
        if not self.started.done():
            self.started.set_result(False)
        if self.tally is not None:
            self.tally.refuse(self.stream)


class Peers:
    """Owns the processes. A context manager; `trial` may be called with any number, as a search does."""

    def __init__(self, pace: Pace, model: Path, device: str) -> None:
        self._pace = pace
        format = ["--rate", str(pace.rate), "--format", "s16le"]
        where = ["--model", str(model), "--device", device]
        self._command = [sys.executable, "-m", "streamtag.cli", "listen", "--from", "-", "--json", *format, *where]
        self._chunks = chunks(pace)
        self._peers: list[Peer] = []
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._keep(0))
        finally:
            self._runner.__exit__(kind, error, trace)

    def most(self) -> int:
        """How many the memory of this machine has room for, by what one more takes."""
        self._run(self._keep(max(1, len(self._peers))))
        own = resident_mib(self._peers[0].pid)
        spare = free_mib() - SPARE_MIB
        return len(self._peers) + max(0, int(spare / own)) if spare < float("inf") and own > 0 else 1 << 12

    def trial(self, streams: int) -> Trial:
        """Raises StreamtagError if a process does not start."""
        return self._run(self._trial(streams))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _trial(self, streams: int) -> Trial:
        await self._keep(streams)
        await self._settle()
        before = {peer.stream: peer.fed for peer in self._peers}
        tally = Tally(self._pace, before, before)
        for peer in self._peers:
            peer.tally = tally
        start = time.monotonic() + 0.1
        late = []
        with Window(self._pace, start, self._cpu) as window:
            for due, stream, chunk in self._pace.pushes(list(before)):
                if (early := start + due - time.monotonic()) > 0:
                    await asyncio.sleep(max(early, NAP_S))
                self._peers[stream].push(self._chunks[place(stream, chunk, len(self._chunks))])
                late.append(time.monotonic() - start - due)
            for _ in range(20):
                await asyncio.sleep(FAREWELL_S / 20)
                if tally.complete():
                    break
        for peer in self._peers:
            peer.tally = None
        memory = sum(resident_mib(peer.pid) for peer in self._peers) / streams
        return tally.trial(start, late, **window.percent_of_a_core(), own_mib_a_process=memory)

    def _cpu(self) -> dict[str, float]:
        return {"cpu": sum(cpu_s(peer.pid) for peer in self._peers), "clients_cpu": time.process_time()}

    async def _keep(self, count: int) -> None:
        """Starts or ends processes until there are so many."""
        leaving, self._peers = self._peers[count:], self._peers[:count]
        await asyncio.gather(*(peer.end() for peer in leaving))
        while (missing := count - len(self._peers)) > 0:
            starting = [await self._start(len(self._peers)) for _ in range(min(missing, TOGETHER))]
            async with asyncio.timeout(START_S):
                if not all([await peer.started for peer in starting]):
                    raise StreamtagError("a process of streamtag listen did not start")

    async def _start(self, stream: int) -> Peer:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._peers.append(Peer(process, stream))
        return self._peers[-1]

    async def _settle(self) -> None:
        """Until all have given what they owe from before."""
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until and any(peer.last < self._owed(peer) for peer in self._peers):
            await asyncio.sleep(0.1)

    def _owed(self, peer: Peer) -> int:
        """The number of the last frame that has all its sound."""
        return math.floor((peer.fed * self._pace.period_s - self._pace.lookahead_s) / self._pace.hop_s)
