"""The example song: its score, and the MP3 in the repository."""

from __future__ import annotations

import math
from types import ModuleType

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.examples.conftest import EXAMPLES

SONG = EXAMPLES / "evening_ride.mp3"


@pytest.fixture(scope="module")
def song() -> tuple[dict[str, str], NDArray[np.float32]]:
    """Metadata and samples [2, T] at 44.1 kHz of the MP3 in the repository."""
    with av.open(str(SONG)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        assert container.streams.audio[0].rate == 44100
        return dict(container.metadata), np.concatenate(blocks, axis=1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_notes_lie_inside_their_sections(score: ModuleType, seed: int) -> None:
    parts = {
        "guitar": {"guitar"},
        "strings": {"strings", "violin", "choir"},
        "techno": {"808", "synth bass", "arpeggio", "pad"},
        "rock": {"drums", "bass", "left", "right", "lead"},
        "outro": {"harpsichord", "flute"},
    }
    notes = [event for event in score.compose(seed) if isinstance(event, score.Note)]
    assert {note.part for note in notes} == set(score.PARTS)
    for note in notes:
        (home,) = [section for section in score.SECTIONS if note.part in parts[section.name]]
        assert home.start <= note.start < note.start + note.seconds <= home.end + 1e-9
        assert 1 <= note.velocity <= 127


def test_sections_are_never_silent(score: ModuleType) -> None:
    """At any time at least one note sounds, except for 0.1 s between two chords."""
    notes = [event for event in score.compose() if isinstance(event, score.Note)]
    for time in np.arange(0.1, score.SECTIONS[-1].end - 0.2, 0.1):
        assert any(note.start <= time + 0.1 and note.start + note.seconds > time for note in notes), time


def test_the_song_in_the_repository(score: ModuleType, song: tuple[dict[str, str], NDArray[np.float32]]) -> None:
    metadata, audio = song
    assert SONG.stat().st_size < 1_000_000
    assert (metadata["title"], metadata["artist"]) == ("Evening Ride", "streamtag")
    assert audio.shape[0] == 2
    assert 60 <= audio.shape[1] / 44100 <= 75
    assert audio.shape[1] / 44100 == pytest.approx(score.SECTIONS[-1].end, abs=1.0)
    assert -2.5 < 20 * math.log10(np.abs(audio).max()) < 0, "loud, and not clipped"
