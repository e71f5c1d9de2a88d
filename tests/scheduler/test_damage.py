"""Bytes that are no stream of this model are refused with one line, whatever is wrong with them."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save

from streamtag.errors import SpecError, StreamtagError
from streamtag.model.model_file import fingerprint
from streamtag.scheduler.stream_state import MOST_BYTES
from tests.scheduler.scheduler_room import ODD, Room, a_state, adopted, music

STATES: dict[str, bytes] = {}  # of a model, made once


def refused(room: Room, data: bytes) -> StreamtagError:
    future = room.engine.import_state("mic", data)
    room.work()
    error = future.exception(0)
    assert isinstance(error, SpecError), error
    assert "\n" not in str(error)
    assert room.engine.stats.streams == len(room.pool) == 0
    return error


def changed(data: bytes, change: str, value: object) -> bytes:
    """Another number at a path of the description."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    numbers = json.loads(metadata["stream"])
    *path, last = change.split(".")
    inner = numbers
    for name in path:
        inner = inner[name]
    assert last in inner
    inner[last] = value
    return save(load_tensors(data), metadata | {"stream": json.dumps(numbers)})


def with_tensor(data: bytes, name: str, array: np.ndarray | None) -> bytes:
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    tensors = load_tensors(data)
    assert name in tensors
    del tensors[name]
    return save(tensors if array is None else tensors | {name: array}, metadata)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        *[(f"{place}", value) for place in ("position", "intake.came", "track.samples") for value in (-1, 0.5, None)],
        *[
            (f"intake.{name}", value)
            for name in ("began", "came", "gone", "first")
            for value in (10**30, 70_000, "1", True)
        ],
        ("pcm.rate", 0),
        ("pcm.rate", 10**9),
        ("pcm.rate", 48000),
        ("pcm.sample", "u8"),
        ("pcm.channels", 10**6),
        ("pcm", {"rate": 16000}),
        ("intake", []),
        ("intake", {"began": 0}),
        ("track.frames", 10**9),
        ("track.lost", [[1, 10**40]]),
        ("track.begun", 3),
        ("row.frames", -1),
        ("row.frames", 10**40),
        ("row.time", float("nan")),
        ("row.time", "soon"),
        ("row.time", 10**400),
        ("model", "another"),
        ("model", None),
    ],
)
def test_numbers_that_make_no_sense_are_refused(model: Path, change: str, value: object) -> None:
    data = a_state(model)
    room = Room(model, echo=False)
    refused(room, changed(data, change, value))
    adopted(room, "mic", data)  # the control: it was well before


@pytest.mark.parametrize("name", ["pending", "recent", "row.smooth", "row.on", "row.since", "row.sums"])
@pytest.mark.parametrize("wrong", [None, (3, 3), (0,), (60_000,), "nan", "whole numbers"])
def test_arrays_that_make_no_sense_are_refused(model: Path, name: str, wrong: object) -> None:
    data = a_state(model)
    array = load_tensors(data)[name]
    if wrong == "nan":
        if array.dtype == np.bool_:
            return
        array[-1] = np.nan
        refused(Room(model, echo=False), with_tensor(data, name, array))
    elif wrong == "whole numbers":
        refused(Room(model, echo=False), with_tensor(data, name, np.zeros(array.shape, np.int64)))
    elif wrong is None:
        refused(Room(model, echo=False), with_tensor(data, name, None))
    else:
        assert isinstance(wrong, tuple)
        refused(Room(model, echo=False), with_tensor(data, name, np.zeros(wrong, array.dtype)))


def test_what_is_no_state_at_all_is_refused(model: Path) -> None:
    data, room = a_state(model), Room(model, echo=False)
    deep = b'{"a":' * 20_000
    for junk in (
        b"",
        b"\x00",
        b"\xff" * 8,
        b"\xff" * 100_000,
        b"not a stream",
        data[:-1],
        data + b"\x00",
        data[: len(data) // 2],
        len(deep).to_bytes(8, "little") + deep,
        save({"a": np.zeros(3, np.float32)}),
        save({"a": np.zeros(3, np.float32)}, {"format": "streamtag-stream-1", "stream": "[]"}),
        save({"a": np.zeros(3, np.float32)}, {"format": "streamtag-stream-2", "stream": "{}"}),
    ):
        refused(room, junk)
    assert "bytes" in str(refused(room, b"\x00" * (MOST_BYTES + 1)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 20), value=st.integers(0, 255), cut=st.integers(0, 3))
@example(at=0, value=255, cut=0)
def test_any_damage_is_refused_or_harmless(model: Path, at: int, value: int, cut: int) -> None:
    """One byte that is another, and some that are missing: a clear error, or a stream that works."""
    data = bytearray(STATES.setdefault(str(model), a_state(model)))
    where = at % 3000 if at % 2 else at % len(data)  # half of them in the description
    data[where] = value
    room = Room(model, echo=False)
    future: Future[int] = room.engine.import_state("mic", bytes(data[: len(data) - cut]))
    room.work()
    if future.exception(0) is not None:
        assert isinstance(future.exception(0), SpecError)
        assert room.engine.stats.streams == len(room.pool) == 0
        return
    feed = room.open("mic", ODD, future.result(0))
    feed.push(music(1, ODD))
    room.end("mic", feed)


def test_the_same_model_has_the_same_fingerprint(model: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy", tmp_path / "other"
    copy.write_bytes(model.read_bytes())
    other.write_bytes(model.read_bytes() + b"\x00")
    assert fingerprint(model) == fingerprint(copy) != fingerprint(other)
    with pytest.raises(SpecError, match="another model's"):
        raise refused(Room(model, echo=False, fingerprint=fingerprint(other)), a_state(model))
