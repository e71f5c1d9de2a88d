"""Streams that go from one `streamtag serve` to another."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.protocol.messages import End, Event, Gap, Ready
from tests.cli.serve_process import (
    CLOSE,
    END,
    Serve,
    Start,
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
def servers(standing: Start) -> tuple[Serve, Serve]:
    return standing(), standing()


@pytest.mark.parametrize(("name", "settings"), [("mono", ""), ("stereo", "rate=44100&format=f32le&channels=2")])
def test_a_stream_moves_to_another_server_without_a_break(
    servers: tuple[Serve, Serve], name: str, settings: str
) -> None:
    """Its frames are those of one that stayed; without its state they would differ."""
    first, second = servers
    rate = 44100 if settings else 16000
    sound = tones(8, rate)
    pcm = np.stack([sound, 0.5 * sound], axis=1).astype("<f4").tobytes() if settings else as_pcm(sound)
    size = len(pcm) // len(sound)
    cut = round(3.7 * rate)
    path = f"/ingest/{name}?{settings}"

    stays = first.connect(path.replace(name, f"{name}-stays"))
    begin(stays)
    push(stays, pcm)
    stays.send(END)
    unbroken = rest(stays)

    goes = first.connect(path)
    begin(goes)
    push(goes, pcm[: cut * size + size // 2])  # half a sample is there, too
    before = until_frame(goes, 12)  # all that 3.7 s give
    state = first.get(f"/streams/{name}/state")
    assert len(state) < 1 << 20
    taker = second.connect(f"/streams/{name}/state")
    taker.send(state)
    ready = read(taker)
    assert isinstance(ready, Ready)
    assert rest(taker) == []
    assert taker.close_code == 1000
    arrives = second.connect(f"{path}&position={ready.position}")
    assert begin(arrives) == ready.position
    assert abs(ready.position - cut) < rate  # what waits in the server has not been heard
    push(arrives, pcm[ready.position * size :])
    arrives.send(END)
    after = rest(arrives)
    told = [*before, *after]
    assert not [message for message in told if isinstance(message, Gap)]
    assert numbers_of(told) == numbers_of(unbroken)
    assert np.abs(probs_of(told) - probs_of(unbroken)).max() < CLOSE
    events = [[(e.tag, e.state, e.time) for e in some if isinstance(e, Event)] for some in (told, unbroken)]
    assert events[0] == events[1]
    end, other = after[-1], unbroken[-1]
    assert isinstance(end, End)
    assert isinstance(other, End)
    assert end.frames == other.frames
    assert end.seconds == pytest.approx(other.seconds, abs=2e-3)
    assert list(end.summary.values()) == pytest.approx(list(other.summary.values()), abs=CLOSE)

    stranger = second.connect(path.replace(name, f"{name}-anew"))
    assert begin(stranger) == 0
    push(stranger, pcm[ready.position * size :])
    stranger.send(END)
    strange = probs_of(rest(stranger))
    count = len(strange)
    assert np.abs(probs_of(told)[-count:] - strange).max() > 10 * CLOSE


def test_a_state_that_was_tampered_with_is_refused_and_the_server_goes_on(servers: tuple[Serve, Serve]) -> None:
    server, _ = servers
    client = server.connect("/ingest/hurt")
    begin(client)
    client.send(as_pcm(tones(2)))
    until_frame(client, 5)
    state = server.get("/streams/hurt/state")
    rng = np.random.default_rng(0)
    hostile = [b"", b"{}", state[:-1], state[: len(state) // 2], b"\xff" * 8 + state[8:], rng.bytes(len(state))]
    for number, data in enumerate(hostile):
        taker = server.connect(f"/streams/copy-{number}/state")
        taker.send(data)
        (error,) = rest(taker)
        assert error.type == "error", number
        assert "\n" not in error.to_json()
        assert taker.close_code == 1008
    taker = server.connect("/streams/hurt/state")  # a name that is in use
    taker.send(state)
    assert [message.type for message in rest(taker)] == ["error"]
    taker = server.connect("/streams/copy/state")
    taker.send(state)
    assert isinstance(read(taker), Ready)
    client.send(END)
    assert isinstance(rest(client)[-1], End)
