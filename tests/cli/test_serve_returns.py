"""Producers of `streamtag serve` that break off, and come back or do not."""

from __future__ import annotations

import time

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Gap
from tests.cli.serve_process import (
    CLOSE,
    END,
    Serve,
    Start,
    alone,
    as_heard,
    as_pcm,
    begin,
    numbers_of,
    probs_of,
    push,
    read,
    rest,
    tones,
    until_frame,
)


@pytest.fixture(scope="module")
def server(standing: Start) -> Serve:
    return standing()


def test_who_comes_back_with_its_position_goes_on_as_if_nothing_had_been(server: Serve, tagger: Tagger) -> None:
    pcm = as_pcm(tones(9))
    expected = alone(tagger, as_heard(pcm))
    client = server.connect("/ingest/steady")
    begin(client)
    push(client, pcm[: 2 * 40_000])
    told = until_frame(client, 8)  # the last that 2.5 s give
    client.socket.close()  # without a word
    again = server.connect("/ingest/steady?position=30000")  # it sends some of it again
    assert begin(again) == 30_000
    push(again, pcm[2 * 30_000 :])
    again.send(END)
    told += rest(again)
    assert not [message for message in told if isinstance(message, Gap)]
    assert numbers_of(told) == list(range(len(expected)))
    assert np.abs(probs_of(told) - expected).max() < CLOSE


def test_who_comes_back_later_in_the_sound_is_told_of_just_that_gap(server: Serve, tagger: Tagger) -> None:
    pcm = as_pcm(tones(9))
    client = server.connect("/ingest/later")
    begin(client)
    push(client, pcm[: 2 * 40_000])
    told = until_frame(client, 8)
    client.close()
    again = server.connect("/ingest/later?position=56000")  # 1 s is missing
    assert begin(again) == 56_000
    push(again, pcm[2 * 56_000 :])
    again.send(END)
    told += rest(again)
    assert [message for message in told if isinstance(message, Gap)] == [Gap("later", 2.5, 1.0)]
    session = Session(tagger)
    session.feed(as_heard(pcm[: 2 * 40_000]))
    after = [*session.insert_gap(16_000), *session.feed(as_heard(pcm[2 * 56_000 :])), *session.flush()]
    assert numbers_of(told)[9:] == [frame.index for frame in after]
    assert np.abs(probs_of(told)[9:] - np.array([frame.probs for frame in after])).max() < CLOSE
    fresh = Session(tagger).feed(as_heard(pcm[2 * 56_000 :]))  # it did remember what came before
    assert np.abs(probs_of(told)[-3] - fresh[-1].probs).max() > 10 * CLOSE


def test_who_does_not_count_loses_the_time_that_it_was_gone(server: Serve) -> None:
    client = server.connect("/ingest/careless")
    begin(client)
    client.send(as_pcm(tones(2)))
    until_frame(client, 5)
    client.socket.close()
    gone = time.monotonic()
    time.sleep(1.2)
    again = server.connect("/ingest/careless")
    begin(again)
    gone_s = time.monotonic() - gone
    again.send(as_pcm(tones(1)))
    again.send(END)
    (gap,) = [message for message in rest(again) if isinstance(message, Gap)]
    assert gap.start == 2.0
    assert 1.0 < gap.lost_s < gone_s + 0.1


def test_a_stream_that_nobody_comes_back_to_ends_by_itself(server: Serve) -> None:
    subscriber, client = server.connect("/streams/gone"), server.connect("/ingest/gone")
    begin(client)
    client.send(as_pcm(tones(2)))
    until_frame(client, 5)
    client.close()
    broke_off = time.monotonic()
    told = [read(subscriber)]
    while not isinstance(told[-1], End):
        told.append(read(subscriber))
    assert 9 < time.monotonic() - broke_off < 15
    assert begin(server.connect("/ingest/gone?position=32000")) == 0  # another stream of that name
