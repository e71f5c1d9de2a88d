"""A session on two cores has the frames of one on one core, only later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.api import Tagger
from streamtag.inference.overlapped import MAX_BLOCKS_AHEAD, OverlappedSession, open_file_session
from streamtag.inference.session import Session
from streamtag.model import TaggerNetwork
from streamtag.model.batched import torch_threads
from streamtag.spec import Cell
from tests.inference.conftest import HOP, agree, noise
from tests.model.conftest import by_time

LENGTH = 40 * HOP + 1234


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, LENGTH), max_size=12).map(sorted))
def test_the_frames_are_those_of_a_session(tagger: Tagger, cuts: list[int]) -> None:
    audio = noise(LENGTH)
    plain = Session(tagger)
    expected = plain.feed(audio) + plain.flush()
    with OverlappedSession(tagger) as session:
        frames = [frame for part in np.split(audio, cuts) for frame in session.feed(part)]
        late = len(expected) - len(frames)
        frames += session.flush()
        assert session.seconds == plain.seconds
    agree(frames, expected, atol=1e-5)
    assert late >= 2  # at least those without their look-ahead


@dataclass(frozen=True)
class Model:
    network: TaggerNetwork


@pytest.mark.parametrize(("front_end", "cell"), [("scattering", "GRU"), ("mel", "GRU"), ("cqt", "LSTM")])
def test_gaps_resets_and_a_second_stream(front_end: str, cell: Cell) -> None:
    audio, model = noise(30 * HOP), Model(by_time(front_end, cell))
    streams = []
    with OverlappedSession(model) as overlapped:
        for session in (Session(model), overlapped):
            frames = session.feed(audio[: 12 * HOP])
            frames += session.insert_gap(20 * HOP)
            frames += session.feed(audio[12 * HOP :])
            session.reset_context()
            frames += session.feed(audio) + session.flush()
            assert session.flush() == []
            session.reset()
            again = session.feed(audio) + session.flush()
            streams.append((frames, again))
    for own, expected in zip(streams[1], streams[0], strict=True):
        agree(own, expected, atol=1e-5)


def test_the_front_end_is_only_a_few_blocks_ahead(tagger: Tagger) -> None:
    block = noise(4 * HOP)
    with OverlappedSession(tagger) as session:
        frames = [frame for _ in range(20) for frame in session.feed(block)]
    assert len(frames) >= 4 * (20 - MAX_BLOCKS_AHEAD) - 2


@pytest.mark.parametrize("threads", [1, 2])
def test_two_threads_of_torch_allow_two_cores_and_it_gets_them_back(threads: int, tagger: Tagger) -> None:
    with torch_threads(threads):
        with open_file_session(tagger) as session:
            assert isinstance(session, OverlappedSession) == (threads == 2)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == threads


def test_an_error_in_the_thread_reaches_the_caller(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(tagger.network, "tag", fail)
    with OverlappedSession(tagger) as session:
        session.feed(noise(HOP))  # too little for the thread
        with pytest.raises(MemoryError, match="no room"):
            session.flush()
