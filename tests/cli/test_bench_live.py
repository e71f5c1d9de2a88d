"""The live bench measures what it says, on a toy model; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.cli.bench import live as bench_live
from streamtag.cli.bench.loopback import LIKENESS, likeness
from streamtag.cli.bench.measure import music
from streamtag.inference.session import Session

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone


pytestmark = pytest.mark.usefixtures("one")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of the beginning is left out."""
    monkeypatch.setattr(bench_live, "WARM_S", 1.0)


@pytest.mark.usefixtures("soon")
def test_every_subscriber_gets_every_frame_and_those_that_do_not_read_are_none_of_their_business(
    tagger: Tagger,
) -> None:
    figures = bench_live.live(tagger, 5.0, 5, 1, None)
    assert figures["frames"] == pytest.approx((5.0 - bench_live.WARM_S) / 0.256, abs=3)
    assert figures["not_delivered"] == 0
    assert figures["connected_at_the_end"] == 6  # the one that stalls is not found out so soon
    times = [figures[f"arrival_to_subscriber_{name}_ms"] for name in ("p50", "p95", "p99", "max")]
    assert 0 < times[0] <= times[1] <= times[2] <= times[3]
    assert figures["sound_to_message_worst_ms"] == pytest.approx(times[3] + 384 + 256, abs=1)
    assert figures["source"].startswith("sound from memory, 48000 Hz")


@pytest.mark.usefixtures("soon")
def test_a_network_that_is_slow_shows_in_the_latency(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Session._step

    def slow(self: Session, audio: np.ndarray) -> list[object]:
        frames = step(self, audio)
        if frames:
            time.sleep(0.1)
        return list(frames)

    fast = bench_live.live(tagger, 4.0, 1, 0, None)
    monkeypatch.setattr(Session, "_step", slow)
    delayed = bench_live.live(tagger, 4.0, 1, 0, None)
    difference = delayed["arrival_to_subscriber_p50_ms"] - fast["arrival_to_subscriber_p50_ms"]
    assert 80 < difference < 250


def test_what_a_microphone_hears_of_a_loudspeaker_is_recognised() -> None:
    played, other = music(3.0), music(3.0, seed=9)
    room = np.random.default_rng(1).standard_normal(len(played)).astype(np.float32) * 0.004
    heard = 0.1 * np.roll(played, 5000) + room
    assert likeness(heard, played) > LIKENESS
    assert likeness(other, played) < LIKENESS
    assert likeness(np.zeros_like(played), played) == 0.0
    assert likeness(played[:1000], played) == 0.0  # too little came


def test_the_loopback_is_taken_where_there_is_one(virtual_microphone: VirtualMicrophone, model: Path) -> None:
    command = [sys.executable, "-m", "streamtag.cli", "bench", "live", "--seconds", "10", "--json"]
    done = subprocess.run(
        [*command, "--model", str(model)],
        env={**virtual_microphone.env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    figures = json.loads(done.stdout)
    few, many = (figures[name] for name in figures if name.startswith("live"))
    assert few["source"] == "default, 44100 Hz, 2 channels"
    assert few["frames"] > 10  # of 27 at most: a sound server may take seconds to begin
    assert many["source"].startswith("sound from memory")
    assert many["connected_at_the_end"] >= 199
    assert few["not_delivered"] == many["not_delivered"] == 0
