"""The capacity of a real `streamtag serve` with producers in other processes, all on this machine.

`python -m tests.benchmarks.sockets [MODEL [DEVICE [SECONDS]]]` finds the largest number of live streams without loss
and in time.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from streamtag.api import load
from streamtag.cli.bench.figures import Figures, print_progress
from streamtag.cli.bench.live import FIRST, MAX_STREAMS
from streamtag.errors import StreamtagError
from streamtag.scheduler.load import DRAIN_TIMEOUT_S, TAIL_S, LoadSchedule, Trial
from streamtag.scheduler.trial import MAX_TRIALS, search
from tests.benchmarks.process import program_cpu_s, program_mib, stop
from tests.benchmarks.producers import Report

HOST = "127.0.0.1"
MAX_PRODUCERS = 256  # in one process
START_TIMEOUT_S = 120.0  # for the server to be ready
REPORT_TIMEOUT_S = 30.0  # after the last push


class Serving:
    """A running `streamtag serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int, errors: IO[str]) -> None:
        self.process = process
        self.port = port
        self._errors = errors

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        """What it has written to standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

    def get(self, path: str) -> str:
        """Return the body of the response. Raises OSError or HTTPException if nobody answers (yet)."""
        connection = HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@contextmanager
def serving(model: Path, device: str, *options: str, program: Sequence[str] = ("streamtag.cli",)) -> Iterator[Serving]:
    """Start a server, yield it when it is ready, and stop it. program: a module and its first arguments.

    Raises StreamtagError if it does not start.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", *program, "serve", f"{HOST}:{port}", "--model", str(model), "--device", device]
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=errors, text=True)
        server = Serving(process, port, errors)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            stop(process)


def socket_trial(model: Path, device: str, schedule: LoadSchedule, streams: int, *options: str) -> Trial:
    """Raises StreamtagError if the server or a process of producers does not start."""
    count = math.ceil(streams / MAX_PRODUCERS)
    room = ["--max-streams", str(streams), "--max-producers-per-client", str(streams)]
    with ExitStack() as resources:
        server = resources.enter_context(serving(model, device, *room, *options))
        before_mib = program_mib(server.pid)
        clients = [_start_clients(server.port, schedule, first, count, streams) for first in range(count)]
        for client in clients:
            resources.callback(stop, client)
        for client in clients:
            if client.stdout is None or client.stdout.readline() != "ready\n":
                raise StreamtagError("a process of producers did not start")
        start = time.monotonic() + 0.5
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(f"{start}\n")
            client.stdin.flush()
        cpu_s = []
        for bound in schedule.counted:
            time.sleep(max(0.0, start + bound - time.monotonic()))
            cpu_s.append(program_cpu_s(server.pid))
        grown_mib = program_mib(server.pid) - before_mib
        steps = _step_figures(server.get("/metrics"))
        reports = [_read_report(client, schedule) for client in clients]
    pushed_s = schedule.counted[1] + TAIL_S
    figures = {
        **steps,
        "cpu_percent_of_a_core": 100 * (cpu_s[1] - cpu_s[0]) / schedule.seconds,
        "clients_cpu_percent_of_a_core": 100 * sum(report.cpu_s for report in reports) / pushed_s,
        "kbit_a_second_out_a_stream": 8e-3 * sum(report.bytes_in for report in reports) / (streams * pushed_s),
        "server_mib": before_mib + grown_mib,
        "server_mib_grown": grown_mib,
    }
    return Trial(
        streams,
        np.concatenate([report.delays_s for report in reports]),
        missing=sum(report.missing for report in reports),
        repeated=sum(report.repeated for report in reports),
        gaps=sum(report.gaps for report in reports),
        refused=sum(report.refused for report in reports),
        figures=figures,
    )


def main(model: str | None = None, device: str = "cpu", seconds: str = "10") -> None:
    tagger = load(model, device)
    spec = tagger.network.spec
    schedule = LoadSchedule(spec.hop_s, spec.lookahead_s, seconds=float(seconds))
    trial = partial(socket_trial, tagger.path, device, schedule)
    found = search(trial, FIRST // 4, MAX_STREAMS, MAX_TRIALS * schedule.counted[1], print_progress)
    print(json.dumps(found, indent=1))


def _start_clients(port: int, schedule: LoadSchedule, first: int, step: int, streams: int) -> subprocess.Popen[str]:
    arguments = [f"ws://{HOST}:{port}", json.dumps(asdict(schedule)), str(first), str(step), str(streams)]
    command = [sys.executable, "-m", "tests.benchmarks.producers", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _read_report(client: subprocess.Popen[str], schedule: LoadSchedule) -> Report:
    """Raises StreamtagError if there is none in time."""
    try:
        out, _ = client.communicate(timeout=schedule.counted[1] + TAIL_S + DRAIN_TIMEOUT_S + REPORT_TIMEOUT_S)
        return Report(**json.loads(out))
    except (subprocess.TimeoutExpired, ValueError, TypeError):
        raise StreamtagError("a process of producers did not report") from None


def _step_figures(metrics: str) -> Figures:
    """Return the mean size of the scheduler's batches from the server's /metrics."""
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if not sample.labels
    }
    steps, streams = values.get("streamtag_ticks_total", 0.0), values.get("streamtag_tick_streams_total", 0.0)
    return {"batch_mean": streams / steps} if steps else {}


def _wait_until_ready(server: Serving) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if json.loads(server.get("/health")).get("capacity") is not None:
                return
        except (OSError, HTTPException, ValueError):
            pass
        time.sleep(0.1)
    raise StreamtagError(f"the server did not start: {server.stderr.strip()[-200:]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
