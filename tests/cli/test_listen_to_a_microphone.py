"""A real song through a real sound system: the live frames are those of the saved audio."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.audio.radio import Radio
from tests.audio.rtsp_server import running
from tests.cli.conftest import COMMAND, ENVIRONMENT, StartProgram, pipe, read_lines, read_rest
from tests.sounds import Encode, Tone
from tests.wav import write_wav

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

SONG = Path(__file__).resolve().parents[2] / "examples" / "evening_ride.mp3"
SECONDS = 10.0
HOP_S = 0.256
Messages = list[dict[str, Any]]
Listen = Callable[..., "subprocess.Popen[str]"]
pytestmark = pytest.mark.slow


def tagged(path: Path) -> Messages:
    command = [*COMMAND, "file", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120, env=ENVIRONMENT)
    return [json.loads(line) for line in done.stdout.splitlines()]


def probs(found: Messages) -> NDArray[np.float64]:
    """[F, tags]; missing frames are not a number."""
    frames = [message for message in found if message["type"] == "frame"]
    rows = np.full((1 + max(frame["frame"] for frame in frames), 50), np.nan)
    for frame in frames:
        rows[frame["frame"]] = list(frame["tags"].values())
    return rows


def samples(path: Path) -> tuple[NDArray[np.float32], int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono")
        parts = [part.to_ndarray()[0] for frame in container.decode(stream) for part in resampler.resample(frame)]
    return np.concatenate(parts), stream.rate


@pytest.fixture
def listen(program: StartProgram) -> Listen:
    return lambda microphone, *arguments: program(
        "listen", *arguments, stdin=subprocess.DEVNULL, env={**microphone.env, "OMP_NUM_THREADS": "1"}
    )


def test_the_frames_are_those_of_the_saved_audio(
    listen: Listen, virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    """The example song's beginning, played into the microphone of a started program."""
    sound, rate = samples(SONG)
    original, saved = tmp_path / "original.wav", tmp_path / "capture.wav"
    write_wav(original, sound[: round((SECONDS + 5) * rate)].clip(-1, 1), rate)
    process = listen(virtual_microphone, "--json", "--for", str(SECONDS), "--save-audio", saved)
    first = read_lines(process, 2)  # hello, and the first frame
    with virtual_microphone.playing(original):
        out, errors = read_rest(process)
    assert process.returncode == 0, errors
    messages: Messages = [json.loads(line) for line in [*first, *out.splitlines()]]
    live, offline = probs(messages), probs(tagged(saved))
    assert live.shape == offline.shape
    assert len(live) == round(np.ceil(SECONDS / HOP_S))
    present = ~np.isnan(live[:, 0])
    assert present.mean() > 0.9  # a busy machine may lose some audio, and then reports gaps
    gaps = [message for message in messages if message["type"] == "gap"]
    assert present.all() or gaps
    present[-2:] = False  # they end with the stream, and the saved holds the rest of its last block
    # 1e-4, and what rounding to four decimals adds; around a gap the resampler starts again, in a file it does not
    np.testing.assert_allclose(live[present], offline[present], atol=2e-4 if not gaps else 5e-2)
    assert np.abs(np.diff(live[present], axis=0)).max() > 0.01  # it depends on the sound


def test_two_microphones_lose_their_sound_server_beside_a_station_that_plays_on(
    listen: Listen, own_microphone: VirtualMicrophone, model: Path, tmp_path: Path, encode: Encode, tone: Tone
) -> None:
    sound = encode(tmp_path / "part.aac", tone(5, 44100), 44100, "aac").read_bytes()
    with running(Radio(sound, len(sound) / 5)) as radio:
        sources = ["--input", "default", "--input", "pulse", "--from", radio.address("radio")]
        process = listen(own_microphone, "--json", "--model", model, *sources)
        found: dict[str, list[str]] = {"default": [], "pulse": [], "radio": []}

        def until_all_have(kind: str, *streams: str) -> None:
            missing = set(streams)
            while missing:
                message = json.loads(pipe(process.stdout).readline())
                if message["type"] not in ("hello", "event"):
                    found[message["stream"]].append(message["type"])
                if message["type"] == kind:
                    missing.discard(message["stream"])

        until_all_have("frame", *found)
        own_microphone.stop()
        until_all_have("error", "default", "pulse")
        until_all_have("frame", "radio")
        own_microphone.start()
        until_all_have("gap", "default", "pulse")
        until_all_have("frame", *found)
        process.send_signal(signal.SIGINT)
        out, errors = read_rest(process)
    assert process.returncode == 130, errors
    assert set(found["radio"]) == {"frame"}
    ended = [message["stream"] for message in map(json.loads, out.splitlines()) if message["type"] == "end"]
    assert sorted(ended) == ["default", "pulse", "radio"]
    assert "Traceback" not in errors
