"""Bytes that are not a stream of this model are refused with one line, whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save

from streamtag.errors import SpecError, StreamtagError
from streamtag.model.model_file import fingerprint
from streamtag.scheduler.stream_state import MAX_STATE_BYTES
from tests.scheduler.harness import ODD, Harness, exported_state, imported, music


@pytest.fixture(scope="module")
def state(model: Path) -> bytes:
    return exported_state(model)


@pytest.fixture(scope="module")
def harness(model: Path) -> Harness:
    return Harness(model, echo=False)


def assert_refused(harness: Harness, data: bytes) -> StreamtagError:
    future = harness.scheduler.import_state("mic", data)
    harness.run_all()
    error = future.exception(0)
    assert isinstance(error, SpecError), error
    assert "\n" not in str(error)
    assert harness.scheduler.stats.streams == len(harness.pool) == 0
    return error


def header(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *[(path, value) for path in ("position", "intake.came", "track.samples") for value in (-1, 0.5, None)],
        *[(f"intake.{name}", n) for name in ("began", "came", "gone", "first") for n in (10**30, 70_000, "1", True)],
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
def test_impossible_numbers_are_refused(harness: Harness, state: bytes, path: str, value: object) -> None:
    metadata = header(state)
    numbers = json.loads(metadata["stream"])
    *parents, last = path.split(".")
    inner = numbers
    for name in parents:
        inner = inner[name]
    assert last in inner
    inner[last] = value
    assert_refused(harness, save(load_tensors(state), metadata | {"stream": json.dumps(numbers)}))


@pytest.mark.parametrize("name", ["pending", "recent", "row.smooth", "row.on", "row.since", "row.present", "row.sums"])
def test_impossible_arrays_are_refused(harness: Harness, state: bytes, name: str) -> None:
    tensors, metadata = load_tensors(state), header(state)
    array = tensors.pop(name)
    wrong = [np.zeros(shape, array.dtype) for shape in ((3, 3), (0,), (60_000,))]
    wrong.append(np.zeros(array.shape, np.int64))
    if array.dtype != np.bool_:
        wrong.append(np.append(array[:-1], array.dtype.type(np.nan)))
    assert_refused(harness, save(tensors, metadata))
    for other in wrong:
        assert_refused(harness, save(tensors | {name: other}, metadata))


def test_bytes_that_are_not_a_state_are_refused(harness: Harness, state: bytes) -> None:
    nested = b'{"a":' * 20_000
    zeros = {"a": np.zeros(3, np.float32)}
    for junk in (
        b"",
        b"\x00",
        b"\xff" * 8,
        b"\xff" * 100_000,
        b"not a stream",
        state[:-1],
        state + b"\x00",
        state[: len(state) // 2],
        len(nested).to_bytes(8, "little") + nested,
        save(zeros),
        save(zeros, {"format": "streamtag-stream-2", "stream": "[]"}),
        save(zeros, {"format": "streamtag-stream-2", "stream": "{}"}),
    ):
        assert_refused(harness, junk)
    assert "bytes" in str(assert_refused(harness, b"\x00" * (MAX_STATE_BYTES + 1)))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 20), value=st.integers(0, 255), cut=st.integers(0, 3))
@example(at=0, value=255, cut=0)
def test_any_damage_is_refused_or_harmless(harness: Harness, state: bytes, at: int, value: int, cut: int) -> None:
    """One byte differs, and some are missing: a clear error, or a stream that works."""
    data = bytearray(state)
    data[at % 3000 if at % 2 else at % len(data)] = value  # half of them in the description
    future = harness.scheduler.import_state("mic", bytes(data[: len(data) - cut]))
    harness.run_all()
    if future.exception(0) is not None:
        assert isinstance(future.exception(0), SpecError)
    else:
        producer = harness.open("mic", ODD, future.result(0))
        producer.push(music(1, ODD))
        harness.end("mic", producer)
        harness.log.messages.clear()
    assert harness.scheduler.stats.streams == len(harness.pool) == 0


def test_only_an_equal_model_file_continues_a_stream(model: Path, state: bytes, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy", tmp_path / "other"
    copy.write_bytes(model.read_bytes())
    other.write_bytes(model.read_bytes() + b"\x00")
    assert fingerprint(model) == fingerprint(copy) != fingerprint(other)
    with pytest.raises(SpecError, match="another model's"):
        raise assert_refused(Harness(model, echo=False, fingerprint=fingerprint(other)), state)
    imported(Harness(model, echo=False), "mic", state)  # the control
