"""Each of many streams in one batch gets what it would get alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from streamtag.api import Tagger, load
from streamtag.errors import CapacityError, SpecError
from streamtag.inference.batch import PooledSession, SessionPool
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import Session
from streamtag.model.model_file import save_tagger
from tests.inference.conftest import HOP, Audio, agree, drain, noise
from tests.model.conftest import by_time
from tests.model.fake_capture import FakeCapture


def tag_alone(tagger: Tagger, audio: Audio) -> list[TagFrame]:
    session = Session(tagger)
    return session.feed(audio) + session.flush()


def tag_together(pool: SessionPool, audios: list[Audio]) -> list[list[TagFrame]]:
    sessions = [pool.add() for _ in audios]
    for session, audio in zip(sessions, audios, strict=True):
        session.feed(audio)
        session.flush()
    frames = drain(pool)
    assert all(session.is_finished for session in sessions)
    assert [session.seconds for session in sessions] == [len(audio) / 16000 for audio in audios]
    return [frames.get(session, []) for session in sessions]


@pytest.mark.parametrize("streams", [1, 33])
def test_a_batch_of_any_size_gives_what_each_stream_gives_alone(concept_model: Path, streams: int) -> None:
    tagger, audios = load(concept_model, "cpu"), [noise(1500 * (n + 2), n) for n in range(streams)]
    for frames, audio in zip(tag_together(SessionPool(tagger, streams), audios), audios, strict=True):
        alone = tag_alone(tagger, audio)
        agree(frames, alone)
        concepts, expected = ([frame.concept_probs for frame in each] for each in (frames, alone))
        np.testing.assert_allclose(concepts, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("front_end", "cell", "is_captured"),
    [
        ("scattering", "LSTM", True),
        ("scattering", "BN-LSTM", False),
        ("mel", "GRU", True),
        ("cqt", "BN-LSTM", True),
        ("scattering", "CNN 2", False),
        ("mel", "transposed GRU", True),
    ],
)
def test_other_networks_in_a_batch_give_what_they_give_alone_and_can_move(
    front_end: str, cell: str, is_captured: bool, tagger: Tagger, tmp_path: Path
) -> None:
    scattering = SessionPool(tagger, 1).add().export_state()
    save_tagger(by_time(front_end, cell), tmp_path / "x.safetensors")
    tagger = load(tmp_path / "x.safetensors", "cpu")
    pools = [SessionPool(tagger, 3, capture=FakeCapture() if is_captured else None) for _ in range(2)]
    audios = [noise(HOP * (6 + n), n) for n in range(3)]
    sessions = [pools[0].add() for _ in audios]
    for session, audio in zip(sessions, audios, strict=True):
        session.feed(audio[: 3 * HOP + 100])
    frames = drain(pools[0])
    moved = [pools[1].add(session.export_state()) for session in sessions]
    for session, audio in zip(moved, audios, strict=True):
        session.feed(audio[3 * HOP + 100 :])
        session.flush()
    later = drain(pools[1])
    for before, after, audio in zip(sessions, moved, audios, strict=True):
        agree(frames[before] + later[after], tag_alone(tagger, audio))
    moved[2].remove()
    fresh = pools[1].add()
    fresh.feed(audios[0][3 * HOP + 100 :])
    other = drain(pools[1])[fresh]
    assert np.abs(other[-1].probs - later[moved[0]][len(other) - 1].probs).max() > 1e-4, "the state matters"
    fresh.remove()
    with pytest.raises(SpecError, match="state"):  # another model's
        pools[1].add(scattering)


@pytest.mark.parametrize("is_captured", [False, True])
def test_the_shipped_model_in_a_batch_gives_what_it_gives_alone(is_captured: bool) -> None:
    """Directly, and with work that is captured and replayed in batches of fixed sizes, as on a GPU."""
    tagger, capture = load(device="cpu"), FakeCapture()
    pool = SessionPool(tagger, slots=5, capture=capture if is_captured else None)
    audios = [noise(HOP * (6 + n), n) for n in range(5)]
    together = tag_together(pool, audios)
    for frames, audio in zip(together, audios, strict=True):
        agree(frames, tag_alone(tagger, audio))
    assert np.abs(together[0][5].probs - together[1][5].probs).max() > 1e-3  # so that a mix-up would be seen
    assert capture.captures == (4 if is_captured else 0)  # sizes 8, 4, 2 and 1, as the streams end one by one


def test_one_step_computes_one_hop_of_each_stream_that_has_one(tagger: Tagger) -> None:
    pool = SessionPool(tagger, slots=3)
    three, one, none = pool.add(), pool.add(), pool.add()
    three.feed(noise(3 * HOP))
    one.feed(noise(HOP))
    assert (three.ready_hops, one.ready_hops, none.ready_hops) == (3, 1, 0)
    assert {session for session, _ in pool.step()} == {three, one}
    assert (three.ready_hops, one.ready_hops, none.ready_hops) == (2, 0, 0)
    assert [session for session, _ in pool.step([none, one])] == []
    assert [session for session, _ in pool.step([three, three])] == [three]


def test_a_full_pool_refuses_another_stream(tagger: Tagger) -> None:
    pool = SessionPool(tagger, slots=2)
    first, _ = pool.add(), pool.add()
    with pytest.raises(CapacityError, match="all 2 slots"):
        pool.add()
    first.remove()
    first.remove()  # frees one slot, not two
    pool.add()
    with pytest.raises(CapacityError):
        pool.add()
    assert len(pool) == 2


def test_impossible_settings_are_refused(tagger: Tagger) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        SessionPool(tagger, slots=0)
    for precision in ("int4", "float16", "", "BFLOAT16"):
        with pytest.raises(SpecError, match=f"precision is float32 or bfloat16, not {precision}$"):
            SessionPool(tagger, precision=precision)


def test_bfloat16_gives_the_same_frames_with_slightly_other_probabilities(tagger: Tagger) -> None:
    audio = noise(20 * HOP)
    (fast,), exact = tag_together(SessionPool(tagger, 1, "bfloat16"), [audio]), tag_alone(tagger, audio)
    agree(fast, exact, atol=1e-2)
    assert any(np.any(a.probs != b.probs) for a, b in zip(fast, exact, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_streams_of_several_threads_do_not_disturb_each_other(tagger: Tagger, precision: str) -> None:
    pool = SessionPool(tagger, 6, precision)
    audios = [noise(9 * HOP, n) for n in range(6)]
    sessions = [pool.add() for _ in audios]

    def run(own: list[PooledSession]) -> dict[PooledSession, list[TagFrame]]:
        frames: dict[PooledSession, list[TagFrame]] = {session: [] for session in own}
        for session in own:
            session.feed(audios[sessions.index(session)])
        while stepped := pool.step(own):
            for session, new in stepped:
                frames[session] += new
        return frames

    with ThreadPoolExecutor(3) as threads:
        for frames in threads.map(run, [sessions[n::3] for n in range(3)]):
            for session, own in frames.items():
                expected = Session(tagger).feed(audios[sessions.index(session)])
                agree(own, expected, atol=1e-4 if precision == "float32" else 3e-2)


def test_warming_up_leaves_no_trace(tagger: Tagger) -> None:
    capture, audio = FakeCapture(), noise(6 * HOP)
    pool = SessionPool(tagger, slots=5, capture=capture)
    pool.warm_up(8)
    assert capture.captures == 4  # sizes 1, 2, 4 and 8
    assert len(pool) == 0
    agree(tag_together(pool, [noise(HOP)] * 4 + [audio])[4], tag_alone(tagger, audio))
    with pytest.raises(CapacityError):
        pool.warm_up(2)
    assert len(pool) == 5
