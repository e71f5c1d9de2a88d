"""The capacity of the alternative to `serve`: a process of `streamtag listen --from -` for every stream.

`python -m tests.benchmarks.peers [MODEL [DEVICE [SECONDS]]]` finds the largest number of them without loss and in time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from streamtag.api import load
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import print_progress
from streamtag.errors import StreamtagError
from streamtag.scheduler.load import LoadSchedule, Trial, TrialRecorder, feed
from streamtag.scheduler.trial import MAX_TRIALS, search
from tests.benchmarks.process import resident_mib
from tests.benchmarks.producers import FRAME, GAP, NUMBER

FIRST = 4  # processes of the first trial
MAX_PROCESSES = 1 << 10


class Peer:
    """One process, its stream and the thread that reads its messages."""

    def __init__(self, command: list[str], stream: int, recorder: TrialRecorder) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._stream = stream
        self._recorder = recorder
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Wait for the hello, after which the model is loaded. Raises StreamtagError."""
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise StreamtagError("a process of streamtag listen did not start")
        self._thread.start()

    def push(self, chunk: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(chunk)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._thread.is_alive():
            self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            now = time.monotonic()
            if line.startswith(FRAME):
                at = line.index(NUMBER, len(FRAME)) + len(NUMBER)
                self._recorder.add_frame(self._stream, int(line[at : line.index(b",", at)]), now)
            elif line.startswith(GAP):
                self._recorder.add_gap(self._stream)


def peers_trial(model: Path, device: str, schedule: LoadSchedule, streams: int) -> Trial:
    """Raises StreamtagError if a process does not start."""
    command = [sys.executable, "-m", "streamtag.cli", "listen", "--from", "-", "--json", "--format", "s16le"]
    command += ["--rate", str(SAMPLE_RATE), "--model", str(model), "--device", device]
    recorder = TrialRecorder(schedule, range(streams))
    with ExitStack() as resources:
        peers = []
        for stream in range(streams):
            peers.append(Peer(command, stream, recorder))
            resources.callback(peers[-1].stop)
        for peer in peers:
            peer.start()
        start = time.monotonic() + 0.1
        feed(schedule, range(streams), start, lambda stream, chunk: peers[stream].push(chunk))
        recorder.wait()
        own_mib = sum(resident_mib(peer.process.pid) for peer in peers) / streams
        return recorder.trial(start, own_mib_a_process=own_mib)


def main(model: str | None = None, device: str = "cpu", seconds: str = "10") -> None:
    tagger = load(model, device)
    spec = tagger.network.spec
    schedule = LoadSchedule(spec.hop_s, spec.lookahead_s, seconds=float(seconds))
    trial = partial(peers_trial, tagger.path, device, schedule)
    found = search(trial, FIRST, MAX_PROCESSES, MAX_TRIALS * schedule.counted[1], print_progress)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
