"""Streams that move from one `streamtag serve` to another."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.protocol.messages import End, Event, Gap, Ready
from tests.cli.serve_process import (
    CLOSE,
    END,
    Serve,
    as_pcm,
    begin,
    numbers_of,
    probs_of,
    push,
    read,
    read_all,
    tones,
    until_frame,
)


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
    unbroken = read_all(stays)

    goes = first.connect(path)
    begin(goes)
    push(goes, pcm[: cut * size + size // 2])  # with half a sample
    before = until_frame(goes, 12)  # the last of 3.7 s
    state = first.get(f"/streams/{name}/state")
    assert len(state) < 1 << 20
    importer = second.connect(f"/streams/{name}/state")
    importer.send(state)
    ready = read(importer)
    assert isinstance(ready, Ready)
    assert read_all(importer) == []
    assert importer.close_code == 1000
    arrives = second.connect(f"{path}&position={ready.position}")
    assert begin(arrives) == ready.position
    assert abs(ready.position - cut) < rate  # the read_all still waits in the first server
    push(arrives, pcm[ready.position * size :])
    arrives.send(END)
    after = read_all(arrives)
    received = [*before, *after]
    assert not [message for message in received if isinstance(message, Gap)]
    assert numbers_of(received) == numbers_of(unbroken)
    assert np.abs(probs_of(received) - probs_of(unbroken)).max() < CLOSE
    events = [[(e.tag, e.state, e.time) for e in some if isinstance(e, Event)] for some in (received, unbroken)]
    assert events[0] == events[1]
    end, other = after[-1], unbroken[-1]
    assert isinstance(end, End)
    assert isinstance(other, End)
    assert end.frames == other.frames
    assert end.seconds == pytest.approx(other.seconds, abs=2e-3)
    assert list(end.summary.values()) == pytest.approx(list(other.summary.values()), abs=CLOSE)

    fresh = second.connect(path.replace(name, f"{name}-anew"))
    assert begin(fresh) == 0
    push(fresh, pcm[ready.position * size :])
    fresh.send(END)
    fresh_probs = probs_of(read_all(fresh))
    count = len(fresh_probs)
    assert np.abs(probs_of(received)[-count:] - fresh_probs).max() > 10 * CLOSE


def test_a_damaged_state_is_refused_and_the_server_continues(servers: tuple[Serve, Serve]) -> None:
    server, _ = servers
    client = server.connect("/ingest/hurt")
    begin(client)
    client.send(as_pcm(tones(2)))
    until_frame(client, 5)
    state = server.get("/streams/hurt/state")
    rng = np.random.default_rng(0)
    hostile = [b"", b"{}", state[:-1], state[: len(state) // 2], b"\xff" * 8 + state[8:], rng.bytes(len(state))]
    for number, data in enumerate(hostile):
        importer = server.connect(f"/streams/copy-{number}/state")
        importer.send(data)
        (error,) = read_all(importer)
        assert error.type == "error", number
        assert "\n" not in error.to_json()
        assert importer.close_code == 1008
    importer = server.connect("/streams/hurt/state")  # a name that is in use
    importer.send(state)
    assert [message.type for message in read_all(importer)] == ["error"]
    importer = server.connect("/streams/copy/state")
    importer.send(state)
    assert isinstance(read(importer), Ready)
    client.send(END)
    assert isinstance(read_all(client)[-1], End)
