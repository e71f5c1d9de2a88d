"""A small folder of tracks with human tags: tones and noise, as in the data set of `tests.trainer.conftest`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import RATE, sound, write_rows
from trainer.features.audio import encode

TRACKS, UNTAGGED = 24, 6


@pytest.fixture(scope="session")
def track_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 tracks by 12 artists with human tags ("high_tone" has the model's name but for the line, "noisy", "cowbell"),
    and six more without. Not to be written to."""
    folder, rng = tmp_path_factory.mktemp("tracks"), np.random.default_rng(3)
    (folder / "audio").mkdir()
    tracks: list[tuple[object, ...]] = [("track_id", "artist", "album")]
    human: list[tuple[object, ...]] = [("track_id", "clips", "high_tone", "noisy", "cowbell")]
    for number in range(TRACKS + UNTAGGED):
        high, noisy = number % 2, number // 2 % 2
        name = f"track-{number:02d}"
        encode(sound(rng, bool(high), bool(noisy), 4.0), RATE, "opus", 24000, folder / "audio" / f"{name}.opus")
        tracks.append((name, f"artist {number % 12}", "an album"))
        if number < TRACKS:
            human.append((name, 4, 3 * high, 2 * noisy, number % 3))
    write_rows(folder / "tracks.csv", tracks)
    write_rows(folder / "human_tags.csv", human)
    return folder
