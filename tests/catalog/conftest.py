"""A small collection of real files, and the command in this process and in others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger, load
from streamtag.cli import main
from streamtag.cli.bench.figures import music

RATE = 16000


@dataclass(frozen=True)
class Answer:
    """What a call of the command gave. out is no concern of it: results are files."""

    code: int
    out: str
    err: str


Catalog = Callable[..., Answer]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return load(model, "cpu")


@pytest.fixture
def catalog(model: Path, capfd: pytest.CaptureFixture[str]) -> Catalog:
    """`streamtag catalog` with the small model, here."""

    def run(*arguments: str | Path, model: Path = model) -> Answer:
        capfd.readouterr()
        code = main(["catalog", *map(str, arguments), "--model", str(model), "--device", "cpu"])
        return Answer(code, *capfd.readouterr())

    return run


@pytest.fixture
def start(model: Path) -> Start:
    """The same in a process of its own."""

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "streamtag.cli", "catalog", *map(str, arguments), "--model", str(model)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return start


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files, two of them MP3s, in two folders, and one that is no sound by its name."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "b").mkdir()
    write_wav(root / "a.wav", music(7.0, seed=1))
    write_wav(root / "b" / "short.wav", music(0.4, seed=2))
    write_mp3(root / "b" / "mono.mp3", music(9.0, seed=3))
    write_mp3(root / "b" / "stereo.mp3", music(6.0, seed=4), rate=44100, layout="stereo")
    (root / "b" / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    return root


@pytest.fixture
def collection(sounds: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(sounds, tmp_path / "collection"))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More files than are open at a time: 100 of 12 s, all different."""
    root = tmp_path_factory.mktemp("many")
    piece = music(112.0, seed=5)
    for number in range(100):
        write_wav(root / f"{number:03d}.wav", piece[number * RATE :][: 12 * RATE])
    return root


@pytest.fixture(scope="session")
def whole(many: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what one run undisturbed makes of them: tags.parquet and frames.parquet. Not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    tables = "--out", folder / "tags.parquet", "--frames", folder / "frames.parquet"
    assert main(["catalog", str(many), *map(str, tables), "--model", str(model), "--device", "cpu"]) == 0
    return folder


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 30000).astype("<i2").tobytes())
    return path


def write_mp3(path: Path, samples: NDArray[np.float32], rate: int = RATE, layout: str = "mono") -> Path:
    channels = 2 if layout == "stereo" else 1
    packed = np.repeat((samples * 30000).astype(np.int16), channels)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="s16", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
