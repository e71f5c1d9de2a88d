"""Memory does not grow with the length of a sound."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

MEASURE = """
import resource, sys
from streamtag.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def _peak_mb(minutes: int, model: Path, folder: Path) -> float:
    """The peak of the whole program, with the outputs that could keep something a frame."""
    path = folder / f"{minutes}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        for _ in range(minutes):
            file.writeframes(bytes(60 * 32000))
    outputs = ["--json", "--csv", f"{path}.csv", "--labels", f"{path}.txt", "--model", str(model)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "file", str(path), *outputs],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        timeout=300,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return int(done.stderr.splitlines()[-1]) * unit / 1e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource usage")
def test_ten_minutes_need_as_much_as_one(model: Path, tmp_path: Path) -> None:
    short, long = _peak_mb(1, model, tmp_path), _peak_mb(10, model, tmp_path)
    assert long < short + 25  # decoded, the difference alone would be 35 MB
