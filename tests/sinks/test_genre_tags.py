"""Genres in the tags of files: only they change, and nothing is overwritten unasked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
from mutagen import id3

from streamtag.audio.decoder import open_source
from streamtag.errors import OutputError
from streamtag.protocol.messages import Concept, End
from streamtag.protocol.selection import Selection
from streamtag.sinks.genre_tags import GenreCollector, write_genres
from tests.sounds import Encode, Tone

GENRES = ("Techno", "New Age")
FORMATS = [
    ("song.mp3", "libmp3lame", "TCON"),
    ("song.wav", "pcm_s16le", "TCON"),
    ("song.aiff", "pcm_s16be", "TCON"),
    ("song.flac", "flac", "genre"),
    ("song.opus", "libopus", "genre"),
    ("song.m4a", "aac", "\xa9gen"),
    ("song.wv", "wavpack", "Genre"),
]


@pytest.fixture
def mp3(tmp_path: Path, encode: Encode, tone: Tone) -> Path:
    return encode(tmp_path / "song.mp3", tone(1, 48000), 48000, "libmp3lame")


def decoded(path: Path) -> Any:
    with open_source(str(path)) as source:
        return np.concatenate(list(source))


def genre_of(path: Path, key: str = "TCON") -> list[str]:
    file: Any = mutagen.File(path)
    value = file.tags[key]
    return [str(genre) for genre in (value.genres if key == "TCON" else value)]


@pytest.mark.parametrize(("name", "codec", "key"), FORMATS)
def test_a_genre_is_written_and_the_sound_stays(
    tmp_path: Path, encode: Encode, tone: Tone, name: str, codec: str, key: str
) -> None:
    path = encode(tmp_path / name, tone(1, 48000), 48000, codec, "stereo")
    before = decoded(path)
    assert write_genres(str(path), GENRES, force=False) == f"{path}: wrote the genre Techno; New Age"
    assert genre_of(path, key) == list(GENRES)
    np.testing.assert_array_equal(decoded(path), before)
    assert write_genres(str(path), GENRES, force=False) == f"{path}: has the genre Techno; New Age already"
    kept = write_genres(str(path), ["Rock"], force=False)
    assert kept == f"{path}: keeps its genre Techno; New Age; --force replaces it by Rock"
    assert genre_of(path, key) == list(GENRES)
    forced = write_genres(str(path), ["Rock"], force=True)
    assert forced == f"{path}: wrote the genre Rock, in place of Techno; New Age"
    assert genre_of(path, key) == ["Rock"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("version", [3, 4])
def test_all_other_frames_and_the_version_of_an_id3_tag_stay(mp3: Path, version: int) -> None:
    tags = id3.ID3()
    date: Any = id3.TDRC(text=["2003-05-07"]) if version == 4 else id3.TYER(encoding=0, text=["2003"])
    for frame in (
        id3.TIT2(encoding=1, text=["Ride", "Fahrt"]),
        id3.TXXX(encoding=1, desc="MOOD", text=["calm"]),
        id3.APIC(encoding=0, mime="image/png", type=3, desc="front", data=bytes(range(256)) * 9),
        id3.PRIV(owner="x", data=b"\0\1\2"),
        id3.POPM(email="me", rating=200, count=3),
        date,
    ):
        tags.add(frame)
    tags.save(mp3, v2_version=version, v23_sep=None, v1=2)

    def others() -> dict[str, str]:
        now = id3.ID3(mp3, translate=False)
        assert now.version[:2] == (2, version)
        return {key: repr(frame) for key, frame in now.items() if key != "TCON"}

    before = others()
    write_genres(str(mp3), GENRES, force=False)
    assert others() == before
    assert len(before) == 6
    assert genre_of(mp3) == (list(GENRES) if version == 4 else ["Techno/New Age"])
    assert mp3.read_bytes()[-128:-125] == b"TAG"


def test_an_old_genre_number_counts_as_a_genre(mp3: Path) -> None:
    tags = id3.ID3()
    tags.add(id3.TCON(encoding=0, text=["(17)"]))
    tags.save(mp3, v2_version=3)
    assert "keeps its genre Rock;" in write_genres(str(mp3), GENRES, force=False)


def test_permissions_and_symbolic_links_stay(mp3: Path, tmp_path: Path) -> None:
    mp3.chmod(0o640)
    os.utime(mp3, (1, 1))
    link = tmp_path / "link.mp3"
    link.symlink_to(mp3.name)
    write_genres(str(link), GENRES, force=False)
    assert link.is_symlink()
    assert genre_of(mp3) == list(GENRES)
    assert mp3.stat().st_mode & 0o777 == 0o640
    assert mp3.stat().st_mtime > 1  # what has been read before notices the change


def test_other_hard_links_keep_the_unchanged_file(mp3: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp3"
    other.hardlink_to(mp3)
    before = other.read_bytes()
    assert write_genres(str(mp3), ["Rock"], force=False).endswith("; its other hard links keep the old tags")
    assert other.read_bytes() == before
    assert genre_of(mp3) == ["Rock"]


def test_what_cannot_be_written_is_one_line_and_stays(mp3: Path, tmp_path: Path, encode: Encode, tone: Tone) -> None:
    video = encode(tmp_path / "film.mkv", tone(1, 48000), 48000, "flac")
    mp3.chmod(0o444)
    for where, reason in (
        (str(mp3), "is read-only"),
        (str(video), "this kind of file holds none that can be written"),
        ("-", "is not a file on this machine"),
        ("http://localhost/a.mp3", "is not a file on this machine"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(OutputError, match=rf"^[^\n]*: no tags written: {reason}$"):
            write_genres(where, GENRES, force=True)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failure_while_saving_leaves_the_file_as_it_was(mp3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise mutagen.MutagenError("no space\nleft")

    before = mp3.read_bytes()
    monkeypatch.setattr("mutagen.mp3.MP3.save", fail)
    with pytest.raises(OutputError, match=r"song.mp3: no tags written: no space left$"):
        write_genres(str(mp3), GENRES, force=False)
    assert mp3.read_bytes() == before
    assert list(mp3.parent.iterdir()) == [mp3]


def test_without_a_genre_nothing_changes(mp3: Path) -> None:
    before = mp3.read_bytes()
    assert write_genres(str(mp3), (), force=True) == f"{mp3}: no tags written: no genre is present for long enough"
    assert mp3.read_bytes() == before


def test_only_genres_that_are_present_for_long_enough_are_collected() -> None:
    concepts = tuple(
        Concept(name, category, ("a",), 0.5)
        for name, category in (("techno", "genre"), ("new age", "genre"), ("rock", "genre"), ("drums", "instrument"))
    )
    collector = GenreCollector(Selection.of(("a",), (0.5,), concepts))
    means = {"techno": 0.4, "new age": 0.6, "rock": 0.9, "drums": 0.9}
    present_s = {"techno": 30.0, "new age": 70.0, "rock": 20.0, "drums": 90.0}
    collector.write(End("song.mp3", 100.0, 390, {}, means, present_s))
    assert collector.genres == ("New Age", "Techno")
