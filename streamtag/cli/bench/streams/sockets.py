"""Over sockets: a real `streamtag serve`, and producers in processes of their own, all on this machine."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from streamtag.cli.bench.measure import Figures
from streamtag.cli.bench.streams.pace import FAREWELL_S, TAIL_S, Pace
from streamtag.cli.bench.streams.process import THREAD, Window, children, cpu_by_thread, cpu_s, program_mib, stop
from streamtag.cli.bench.streams.producers import Report
from streamtag.cli.bench.streams.tally import Trial
from streamtag.errors import StreamtagError

HOST = "127.0.0.1"
A_PROCESS = 256  # producers in one process, at most
START_S = 120.0  # for the server to come up, and for all producers to be let in
LEAVE_S = 30.0  # for what comes after the last sound


class Serving:
    """A `streamtag serve` that runs. pid, port: its own. told: what it writes to standard error."""

    def __init__(self, process: subprocess.Popen[str], port: int, told: IO[str]) -> None:
        self.process = process
        self.port = port
        self._told = told

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def told(self) -> str:
        self._told.seek(0)
        return self._told.read()

    def get(self, path: str) -> str:
        """What it answers. Raises OSError or HTTPException if nobody is there (yet)."""
        connection = HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@contextmanager
def serving(model: Path, device: str, *more: str, program: Sequence[str] = ("streamtag.cli",)) -> Iterator[Serving]:
    """Once it is ready, until it has ended. more: options; program: a module and its first arguments.

    Raises StreamtagError if it does not come up.
    """
    port = _free_port()
    command = [sys.executable, "-m", *program, "serve", f"{HOST}:{port}", "--model", str(model), "--device", device]
    with TemporaryFile("w+") as told:
        process = subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=told, text=True)
        server = Serving(process, port, told)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            stop(process)


def socket_trial(model: Path, device: str, pace: Pace, streams: int, precision: str = "float32") -> Trial:
    """Raises StreamtagError if the server or a process of producers does not start."""
    count = math.ceil(streams / A_PROCESS)
    with ExitStack() as resources:
        room = ["--max-streams", str(streams), "--max-producers-per-client", str(streams)]
        server = resources.enter_context(serving(model, device, *room, "--precision", precision))
        before = program_mib(server.pid)
        address = f"ws://{HOST}:{server.port}"
        clients = [_clients(address, pace, first, count, streams) for first in range(count)]
        for client in clients:
            resources.callback(stop, client)
        for client in clients:
            if client.stdout is None or client.stdout.readline() != "ready\n":
                raise StreamtagError("a process of producers did not start")
        start = time.monotonic() + 0.5
        for client in clients:
            _tell(client, f"{start}\n")
        with Window(pace, start, lambda: _cpu(server.pid)) as window:
            pass
        grown = program_mib(server.pid) - before
        steps = _steps(server.get("/metrics"))
        reports = [_report(client, pace) for client in clients]
    return Trial(
        streams,
        np.concatenate([report.after for report in reports]),
        missing=sum(report.missing for report in reports),
        repeated=sum(report.repeated for report in reports),
        gaps=sum(report.gaps for report in reports),
        refused=sum(report.refused for report in reports),
        late=np.concatenate([report.late for report in reports]),
        more={
            **steps,
            **window.percent_of_a_core(),
            "clients_cpu_percent_of_a_core": 100 * sum(report.cpu_s / report.wall_s for report in reports),
            "clients_processes": count,
            "kbit_a_second_out_a_stream": sum(report.bytes_in for report in reports)
            * 8e-3
            / (streams * (pace.end_s + TAIL_S)),
            "server_mib": before + grown,
            "server_mib_grown": grown,
        },
    )


def _clients(address: str, pace: Pace, first: int, step: int, streams: int) -> subprocess.Popen[str]:
    numbers = [str(number) for number in (first, step, streams)]
    command = [sys.executable, "-m", "streamtag.cli.bench.streams.producers", address, pace.to_json(), *numbers]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _tell(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(line)
    client.stdin.flush()


def _report(client: subprocess.Popen[str], pace: Pace) -> Report:
    """What it saw. Raises StreamtagError if it says nothing in time."""
    try:
        out, _ = client.communicate(timeout=pace.end_s + TAIL_S + FAREWELL_S + LEAVE_S)
        return Report(**json.loads(out))
    except (subprocess.TimeoutExpired, ValueError, TypeError):
        raise StreamtagError("a process of producers did not tell what it saw") from None


def _cpu(pid: int) -> dict[str, float]:
    """CPU time so far, s, of the server with its worker processes, of these, and of each of its threads."""
    threads = {f"{THREAD}{number}": seconds for number, seconds in cpu_by_thread(pid).items()}
    working = sum(map(cpu_s, children(pid)))
    return {"cpu": cpu_s(pid) + working, "workers_cpu": working, **threads}


def _steps(page: str) -> Figures:
    """What the server's /metrics says of the engine's steps."""
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.labels
    }
    steps, streams = values.get("streamtag_ticks_total", 0.0), values.get("streamtag_tick_streams_total", 0.0)
    return {"batch_mean": streams / steps} if steps else {}


def _free_port() -> int:
    with socket.socket() as plug:
        plug.bind((HOST, 0))
        port: int = plug.getsockname()[1]
        return port


def _wait_until_ready(server: Serving) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if json.loads(server.get("/health")).get("capacity") is not None:
                return
        except (OSError, HTTPException, ValueError):
            pass
        time.sleep(0.1)
    raise StreamtagError(f"the server does not come up: {server.told.strip()[-200:]}")
