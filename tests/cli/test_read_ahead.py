"""Reading on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from streamtag import read_ahead
from streamtag.errors import SourceError
from streamtag.live.source import SourceInfo, open_source
from streamtag.read_ahead import DEPTH, ReadAhead

MakeSound = Callable[..., Path]


class Pretended:
    """A source of `count` chunks; each waits for `go` first."""

    info = SourceInfo("x", None, 16000, 1, "none")
    warnings = ("noise",)

    def __init__(self, count: int, go: threading.Event) -> None:
        self.made = 0
        self.left = threading.Event()
        self._count = count
        self._go = go

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        self.left.set()

    def __iter__(self) -> Iterator[np.ndarray]:
        for _ in range(self._count):
            self._go.wait(30)
            self.made += 1
            yield np.ones(10, np.float32)


def _samples(reader: ReadAhead) -> np.ndarray:
    samples = reader.take()
    assert samples is not None
    return samples


def _everything(reader: ReadAhead, most: int = DEPTH) -> np.ndarray:
    parts = []
    while (samples := reader.take(most)) is not None:
        parts.append(samples)
    return np.concatenate(parts)


@pytest.mark.parametrize("most", [1, 3, DEPTH])
def test_however_it_is_taken_it_is_the_same_sound(make_sound: MakeSound, most: int) -> None:
    path = str(make_sound(seconds=7))
    with open_source(path) as source:
        expected = np.concatenate(list(source))
    with ReadAhead(path) as reader:
        np.testing.assert_array_equal(_everything(reader, most), expected)
        assert reader.info is not None
        assert reader.info.duration_s == pytest.approx(7, abs=0.01)
        assert reader.take() is None  # the end stays the end


def test_an_error_comes_after_the_samples_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Pretended):
        def __iter__(self) -> Iterator[np.ndarray]:
            yield from super().__iter__()
            raise SourceError("x: broke off")

    go = threading.Event()
    go.set()
    source = Failing(3, go)
    monkeypatch.setattr(read_ahead, "open_source", lambda _: source)
    with ReadAhead("x") as reader:
        heard = 0
        while heard < 30:
            heard += len(_samples(reader))
        with pytest.raises(SourceError, match="broke off"):
            _everything(reader)
        assert list(reader.warnings) == ["noise"]
    assert source.left.wait(10)


def test_a_missing_file_is_an_error_of_take(tmp_path: Path) -> None:
    def read() -> None:
        with ReadAhead(str(tmp_path / "no.wav")) as reader:
            _everything(reader)

    with pytest.raises(SourceError, match="no such file"):
        read()


def test_nothing_yet_is_no_samples_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(read_ahead, "open_source", lambda _: Pretended(1, go))
    with ReadAhead("x") as reader:
        assert len(_samples(reader)) == 0
        go.set()
        assert len(_everything(reader)) == 10


def test_it_reads_no_further_ahead_than_it_may_and_ends_when_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    go.set()
    source = Pretended(10 * DEPTH, go)
    monkeypatch.setattr(read_ahead, "open_source", lambda _: source)
    with ReadAhead("x") as reader:
        assert not source.left.wait(0.3)  # held up
        assert source.made <= DEPTH + 1
        samples = reader.take(most=5)
        assert samples is not None
        assert len(samples) == 50
    assert source.left.wait(10)
    assert source.made < 10 * DEPTH
