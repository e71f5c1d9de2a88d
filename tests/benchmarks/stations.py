"""What `listen` costs for many stations, beside `serve` with as many producers: CPU time and memory of the programs.

The CPU time counts per second of audio that came out as frames, since a busy machine may leave some of it out.

`python -m tests.benchmarks.stations [STREAMS [SECONDS]]` prints one JSON object. The stations are MP3 (96 kbit/s,
stereo, 44.1 kHz) from a web server on this machine; the producers send mono at 16 kHz, which is the cheapest format.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from streamtag.api import SHIPPED_MODEL
from streamtag.scheduler.load import LoadSchedule
from tests.benchmarks.process import program_cpu_s, program_mib, stop
from tests.benchmarks.sockets import socket_trial

SONG = Path(__file__).resolve().parents[2] / "examples" / "evening_ride.mp3"
SONG_S, HEADER = 73.0, 4096  # the first bytes say how long it is, which no station does
START_S = 20.0  # until all stations are connected
HOP_S, LOOKAHEAD_S = 0.256, 0.384


def station_trial(streams: int, seconds: float, *options: str) -> dict[str, float]:
    """Return the CPU time and the memory of `listen`, and which part of its frames came."""
    with ExitStack() as resources:
        folder = Path(resources.enter_context(TemporaryDirectory()))
        sound = SONG.read_bytes()[HEADER:]
        (folder / "sound.mp3").write_bytes(sound)
        command = [sys.executable, "-m", "tests.audio.radio", str(folder / "sound.mp3"), str(len(sound) / SONG_S)]
        radio = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        resources.callback(stop, radio)
        assert radio.stdout is not None
        port = int(radio.stdout.readline())
        addresses = [f"http://127.0.0.1:{port}/{number}" for number in range(streams)]
        sources = [word for address in addresses for word in ("--from", address)]
        command = [sys.executable, "-m", "streamtag.cli", "listen", *sources, "--json", "--device", "cpu", *options]
        out = resources.enter_context((folder / "out.jsonl").open("w+"))
        program = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, text=True)
        resources.callback(stop, program)
        time.sleep(START_S)
        began, before = time.monotonic(), program_cpu_s(program.pid)
        out_began = (folder / "out.jsonl").stat().st_size
        time.sleep(seconds)
        spent, elapsed = program_cpu_s(program.pid) - before, time.monotonic() - began
        memory = program_mib(program.pid)
        out.seek(out_began)
        lines = [line for line in out if line.endswith("}\n") and line.startswith("{")]
    counts = Counter(json.loads(line)["type"] for line in lines)
    return {
        "cpu_ms_a_second_of_audio": 1000 * spent / (counts["frame"] * HOP_S),
        "program_mib": memory,
        "frames": counts["frame"] * HOP_S / (streams * elapsed),
        "gaps": float(counts["gap"]),
    }


def serve_trial(streams: int, seconds: float) -> dict[str, float]:
    trial = socket_trial(SHIPPED_MODEL, "cpu", LoadSchedule(HOP_S, LOOKAHEAD_S, START_S, seconds), streams)
    frames = len(trial.delays_s) * HOP_S / (streams * seconds)
    return {
        "cpu_ms_a_second_of_audio": 10 * trial.figures["cpu_percent_of_a_core"] / (streams * frames),
        "program_mib": trial.figures["server_mib"],
        "frames": frames,
        "gaps": float(trial.gaps),
    }


def main(streams: str = "10", seconds: str = "60", *options: str) -> None:
    count, length = int(streams), float(seconds)
    result = {"serve": serve_trial(count, length), "listen": station_trial(count, length, *options)}
    ratio = result["listen"]["cpu_ms_a_second_of_audio"] / result["serve"]["cpu_ms_a_second_of_audio"]
    print(json.dumps({"streams": count, "seconds": length, **result, "ratio": ratio}, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
