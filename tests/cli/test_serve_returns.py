"""Producers of `streamtag serve` that lose their connection, and reconnect or do not."""

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
    as_pcm,
    begin,
    numbers_of,
    pcm_samples,
    probs_of,
    push,
    read,
    read_all,
    session_probs,
    tones,
    until_frame,
)


def test_a_producer_that_reconnects_with_its_position_continues_without_a_gap(server: Serve, tagger: Tagger) -> None:
    pcm = as_pcm(tones(9))
    expected = session_probs(tagger, pcm_samples(pcm))
    client = server.connect("/ingest/steady")
    begin(client)
    push(client, pcm[: 2 * 40_000])
    received = until_frame(client, 8)  # the last of 2.5 s
    client.socket.close()  # without a close frame
    again = server.connect("/ingest/steady?position=30000")  # it sends some of it again
    assert begin(again) == 30_000
    push(again, pcm[2 * 30_000 :])
    again.send(END)
    received += read_all(again)
    assert not [message for message in received if isinstance(message, Gap)]
    assert numbers_of(received) == list(range(len(expected)))
    assert np.abs(probs_of(received) - expected).max() < CLOSE


def test_a_producer_that_reconnects_later_in_the_sound_gets_just_that_gap(server: Serve, tagger: Tagger) -> None:
    pcm = as_pcm(tones(9))
    client = server.connect("/ingest/later")
    begin(client)
    push(client, pcm[: 2 * 40_000])
    received = until_frame(client, 8)
    client.close()
    again = server.connect("/ingest/later?position=56000")  # 1 s is missing
    assert begin(again) == 56_000
    push(again, pcm[2 * 56_000 :])
    again.send(END)
    received += read_all(again)
    assert [message for message in received if isinstance(message, Gap)] == [Gap("later", 2.5, 1.0)]
    session = Session(tagger)
    session.feed(pcm_samples(pcm[: 2 * 40_000]))
    after = [*session.insert_gap(16_000), *session.feed(pcm_samples(pcm[2 * 56_000 :])), *session.flush()]
    assert numbers_of(received)[9:] == [frame.index for frame in after]
    assert np.abs(probs_of(received)[9:] - np.array([frame.probs for frame in after])).max() < CLOSE
    fresh = Session(tagger).feed(pcm_samples(pcm[2 * 56_000 :]))  # the context before the gap was kept
    assert np.abs(probs_of(received)[-3] - fresh[-1].probs).max() > 10 * CLOSE


def test_a_producer_without_a_position_loses_the_time_that_it_was_away(server: Serve) -> None:
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
    (gap,) = [message for message in read_all(again) if isinstance(message, Gap)]
    assert gap.start == 2.0
    assert 1.0 < gap.lost_s < gone_s + 0.1


@pytest.mark.slow
def test_a_stream_whose_producer_does_not_reconnect_ends(server: Serve) -> None:
    subscriber, client = server.connect("/streams/gone"), server.connect("/ingest/gone")
    begin(client)
    client.send(as_pcm(tones(2)))
    until_frame(client, 5)
    client.close()
    broke_off = time.monotonic()
    received = [read(subscriber)]
    while not isinstance(received[-1], End):
        received.append(read(subscriber))
    assert 9 < time.monotonic() - broke_off < 15
    assert begin(server.connect("/ingest/gone?position=32000")) == 0  # another stream of that name
