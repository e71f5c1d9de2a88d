"""What was heard, as a WAV: bit by bit, whole after an end, readable without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from streamtag.errors import OutputError
from streamtag.sinks.wav import WavFile


def noise(seconds: float, rate: int) -> NDArray[np.float32]:
    return (0.3 * np.random.default_rng(4).standard_normal(round(seconds * rate))).astype(np.float32)


def read(path: Path) -> tuple[NDArray[np.float32], int]:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate([np.zeros(0, np.float32), *frames]), rate


@pytest.mark.parametrize(("rate", "size"), [(16000, 1), (44100, 441), (48000, 5000)])
def test_every_sample_is_kept_exactly(rate: int, size: int, tmp_path: Path) -> None:
    sound = noise(0.2 if size == 1 else 2, rate)
    sound[10] = 3.5  # over full scale
    with WavFile(tmp_path / "recorded.wav") as file:
        for start in range(0, len(sound), size):
            file.write(sound[start : start + size], rate)
    samples, found = read(tmp_path / "recorded.wav")
    assert found == rate
    np.testing.assert_array_equal(samples, sound)


def test_another_sample_rate_is_resampled_to_the_first(tmp_path: Path) -> None:
    first, second = noise(1, 48000), noise(1, 44100)
    with WavFile(tmp_path / "recorded.wav") as file:
        file.write(first, 48000)
        for start in range(0, len(second), 441):
            file.write(second[start : start + 441], 44100)
        file.write(first, 48000)
    samples, rate = read(tmp_path / "recorded.wav")
    assert rate == 48000
    assert len(samples) == 3 * 48000
    np.testing.assert_array_equal(samples[:48000], first)
    np.testing.assert_allclose(samples[48000:96000], soxr.resample(second, 44100, 48000), atol=1e-5)
    np.testing.assert_array_equal(samples[96000:], first)


def test_without_samples_the_file_is_valid(tmp_path: Path) -> None:
    WavFile(tmp_path / "recorded.wav").close()
    assert len(read(tmp_path / "recorded.wav")[0]) == 0


def test_samples_written_before_a_kill_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "recorded.wav"
    code = (
        "import os, signal, sys, numpy\nfrom pathlib import Path\nfrom streamtag.sinks.wav import WavFile\n"
        "file = WavFile(Path(sys.argv[1]))\n"
        "for _ in range(500): file.write(numpy.full(160, 0.25, 'f4'), 16000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    samples, _ = read(path)
    assert len(samples) / 16000 > 3  # of 5 s: what FFmpeg still held is gone
    assert (samples == 0.25).all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    link = tmp_path / "recorded.wav"
    link.symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"recorded\.wav: cannot write: .*no space"), WavFile(link) as file:
        file.write(noise(100, 16000), 16000)
