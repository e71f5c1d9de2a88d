"""A store that grows, is cut short anywhere, and goes on to the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.errors import ManifestError, OutputError
from trainer.features.frame_store import Entry, FrameStore, Half

SIZE = 3


def clips() -> list[tuple[Entry, Half]]:
    """Five clips, one of them without frames."""
    rng = np.random.default_rng(0)
    return [
        (
            Entry(f"clip {n}", n % 4, "" if n % 4 else "not an audio file,\n really"),
            rng.normal(size=(n % 4, SIZE)).astype(np.float16),
        )
        for n in range(1, 6)
    ]


def fill(path: Path, start: int = 0, stop: int = 5) -> FrameStore:
    store = FrameStore(path, SIZE)
    with store.appending(start) as appender:
        for entry, frames in clips()[start:stop]:
            appender.add(entry, frames)
    return store


def content(store: FrameStore) -> tuple[bytes, bytes]:
    return store.path.read_bytes(), store.index_path.read_bytes()


def test_stored_frames_are_read_back(tmp_path: Path) -> None:
    store = fill(tmp_path / "pass.frames")
    assert [(entry.clip_id, entry.frames) for entry in store.entries()] == [(e.clip_id, e.frames) for e, _ in clips()]
    assert [entry.problem for entry in store.entries()] == ["", "", "", "not an audio file, really", ""]
    np.testing.assert_array_equal(store.map(), np.concatenate([frames for _, frames in clips()]))


def test_an_empty_store(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "pass.frames", SIZE)
    assert store.entries() == ()
    assert store.map().shape == (0, SIZE)
    assert fill(tmp_path / "pass.frames", 0, 0).map().shape == (0, SIZE)


@settings(max_examples=60)
@given(lost=st.integers(0, 60), of_lines=st.booleans(), keep=st.integers(0, 5))
def test_a_truncated_store_continues_to_the_same_bytes(
    lost: int, of_lines: bool, keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    whole, cut = fill(folder / "a.frames"), fill(folder / "b.frames")
    damaged = cut.index_path if of_lines else cut.path
    os.truncate(damaged, max(0, damaged.stat().st_size - lost))
    there = cut.entries()
    assert there == whole.entries()[: len(there)]
    assert len(there) == 5 or lost > 0
    fill(folder / "b.frames", min(keep, len(there)))
    assert content(cut) == content(whole)


@pytest.mark.parametrize("line", ["clip 1,1", "clip 1,one,", "clip 1,-1,", "clip 1,1,,,", "\xff,1,"])
def test_damaged_lines_are_named(tmp_path: Path, line: str) -> None:
    store = fill(tmp_path / "pass.frames")
    store.index_path.write_bytes(b"clip_id,frames,problem\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(ManifestError, match=r"pass\.csv: damaged"):
        store.entries()


def test_a_full_disk_is_reported_and_keeps_what_was_stored(
    tmp_path: Path, need: Callable[[str, bool, str], None]
) -> None:
    need("full", Path("/dev/full").exists(), "system has no /dev/full")
    store = fill(tmp_path / "pass.frames", 0, 2)
    with store.appending(2) as appender, Path("/dev/full").open("ab", buffering=0) as full:
        object.__setattr__(appender, "frames", full)
        with pytest.raises(OutputError, match=r"pass\.frames: cannot be written: no space left"):
            appender.add(*clips()[2])
    assert len(store.entries()) == 2
    assert content(fill(store.path, 2)) == content(fill(tmp_path / "other.frames"))
