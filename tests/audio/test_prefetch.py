"""Reading on a thread of its own, and slices that grow."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.decoder import SourceInfo
from streamtag.audio.prefetch import FIRST_SLICE_S, MAX_CHUNKS, MAX_SLICE_S, PrefetchReader
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.errors import SourceError

Samples = NDArray[np.float32]


class FakeSource:
    """A source of chunks of `sizes` samples, numbered through; `ready` of them at once, the others with `go`."""

    info = SourceInfo("x", None, SAMPLE_RATE, 1, "none")
    warnings = ("noise",)

    def __init__(self, sizes: Sequence[int], ready: int | None = None, failure: Exception | None = None) -> None:
        self.go = threading.Semaphore(len(sizes) if ready is None else ready)
        self.made = 0
        self.closed = threading.Event()
        self._sizes = sizes
        self._failure = failure

    def __enter__(self) -> FakeSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()

    def __iter__(self) -> Iterator[Samples]:
        sent = 0
        for size in self._sizes:
            self.go.acquire(timeout=30)
            self.made += 1
            yield np.arange(sent, sent + size, dtype=np.float32)
            sent += size
        if self._failure is not None:
            raise self._failure


def reading(source: FakeSource) -> PrefetchReader:
    return PrefetchReader("x", lambda _: source)  # type: ignore[arg-type, return-value]


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamtag-read"]


def _joined(slices: Iterator[Samples]) -> Samples:
    return np.concatenate([*slices, np.zeros(0, np.float32)])


@settings(max_examples=30)
@given(st.lists(st.integers(1, SAMPLE_RATE), max_size=100), st.integers(1, 5 * SAMPLE_RATE))
def test_no_sample_is_lost_or_moved(sizes: list[int], enough: int) -> None:
    source = FakeSource(sizes)
    with reading(source) as reader:
        samples = reader.read(enough)  # by hand
        slices = [] if samples is None else [samples, *reader]
        np.testing.assert_array_equal(_joined(iter(slices)), np.arange(sum(sizes)))
        assert reader.read(1) is None  # the end stays the end
        assert reader.info == FakeSource.info


def test_slices_grow_up_to_a_limit() -> None:
    chunk, count = SAMPLE_RATE // 2, MAX_CHUNKS - 2  # all fit into the queue
    source = FakeSource([chunk] * count)
    with reading(source) as reader:
        assert source.closed.wait(10)  # all is there: what a slice holds does not depend on the threads' pace
        lengths = [len(samples) / SAMPLE_RATE for samples in reader]
    assert lengths[:5] == [FIRST_SLICE_S, 2, 4, MAX_SLICE_S, MAX_SLICE_S]
    assert max(lengths) == MAX_SLICE_S
    assert sum(lengths) == count / 2


def test_a_live_stream_comes_in_small_slices() -> None:
    source = FakeSource([4000] * 20, ready=0)
    with reading(source) as reader:
        slices = iter(reader)
        for _ in range(20):
            source.go.release()
            assert len(next(samples for samples in slices if len(samples))) == 4000
        assert len(_joined(slices)) == 0


def test_an_error_comes_after_the_samples_before_it() -> None:
    source = FakeSource([10] * 3, failure=SourceError("x: broke off"))
    count = 0
    with reading(source) as reader:
        slices = iter(reader)
        while count < 30:
            count += len(next(slices))
        with pytest.raises(SourceError, match="broke off"):
            _joined(slices)
        assert list(reader.warnings) == ["noise"]
    assert source.closed.is_set()
    assert not _readers()


def test_reading_ahead_is_bounded_and_ends_on_close() -> None:
    source = FakeSource([10] * 10 * MAX_CHUNKS)
    with reading(source) as reader:
        assert not source.closed.wait(0.3)  # held up
        assert source.made == MAX_CHUNKS + 1  # one more in its hand
        reader.read(enough=10)
    assert source.closed.is_set()
    assert source.made < 10 * MAX_CHUNKS
    assert not _readers()


def test_closing_does_not_wait_for_a_stalled_source() -> None:
    source = FakeSource([10], ready=0)
    with reading(source):
        pass
    stalled = _readers()
    source.go.release()
    assert len(stalled) == 1
    stalled[0].join(10)
    assert not _readers()


def test_ctrl_c_reaches_a_reader_that_waits() -> None:
    source = FakeSource([10], ready=0)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    try:
        with reading(source) as reader:
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                list(reader)
    finally:
        timer.cancel()
        source.go.release()
