"""What an actor does with a parcel, and with one that kills whoever hears it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtag.api import Tagger
from streamtag.catalog.actor import DEADLY, Attempts, heard_with_care, packed, unpacked
from streamtag.catalog.cluster import PARCEL, PARCELS, parcels_of
from streamtag.catalog.file_batch import FileBatch
from streamtag.catalog.file_task import TaskResult
from streamtag.catalog.files import AudioFile, Collection
from streamtag.catalog.result import FileResult
from streamtag.inference.batch import SessionPool


class Died(BaseException):
    """As if the process had."""


class Deadly(FileBatch):
    """Dies of one file."""

    def __init__(self, pool: SessionPool, place: str) -> None:
        super().__init__(pool, 4, "m", False, lambda *_: None)
        self._place = place

    def hear(self, sounds: Iterator[AudioFile]) -> Iterator[TaskResult]:
        def checked() -> Iterator[AudioFile]:
            for sound in sounds:
                if sound.place == self._place:
                    raise Died
                yield sound

        return super().hear(checked())


def test_a_file_that_kills_whoever_hears_it_costs_no_other(sounds: Path, tagger: Tagger) -> None:
    parcel = Collection.of([str(sounds)]).sounds
    listener, attempts = Deadly(SessionPool(tagger, slots=4), parcel[1].place), Attempts()
    deaths, heard = 0, list[FileResult]()
    while not heard:
        try:
            heard = [entry for entry, _ in heard_with_care(parcel, listener, "m", attempts)]
        except Died:
            deaths += 1
    assert deaths == 4  # twice all together, twice alone
    assert [(entry.place, entry.error) for entry in heard] == [
        (sound.place, DEADLY if sound is parcel[1] else None) for sound in parcel
    ]


def test_a_parcel_that_was_only_unlucky_is_heard_whole(sounds: Path, tagger: Tagger) -> None:
    parcel = Collection.of([str(sounds)]).sounds
    listener, attempts = Deadly(SessionPool(tagger, slots=4), "none of them"), Attempts()
    attempts.begin(f"parcel of {parcel[0].place}")  # by an actor that was killed
    heard = list(heard_with_care(parcel, listener, "m", attempts))
    assert sorted(entry.place for entry, _ in heard) == sorted(sound.place for sound in parcel)
    assert not any(entry.error for entry, _ in heard)


def test_any_name_survives_the_way_to_an_actor() -> None:
    places = ["/a.wav", os.fsdecode(b"/caf\xe9\n.wav"), "/音楽.wav", '/"quote".wav']
    there = [AudioFile("spelt as it was", place, 3, 4, (5, 6)) for place in places]
    back = unpacked(packed(there))
    assert [(sound.place, sound.size, sound.mtime_ns) for sound in back] == [(place, 3, 4) for place in places]


@pytest.mark.parametrize(("files", "actors"), [(1, 2), (7, 2), (100, 2), (1000, 3), (5000, 1)])
def test_every_file_is_in_one_parcel_and_parcels_are_alike(files: int, actors: int) -> None:
    sounds = [AudioFile(str(n), str(n), n * n, 0, (0, n)) for n in range(files)]
    parcels = parcels_of(sounds, actors)
    assert sorted(int(sound.place) for parcel in parcels for sound in parcel) == list(range(files))
    assert len(parcels) >= min(files, PARCELS * actors)
    assert max(map(len, parcels)) - min(map(len, parcels)) <= 1
    assert max(map(len, parcels)) <= PARCEL
