"""`streamtag serve` as a process: producers and subscribers over real sockets, with the small model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.audio.resample import Resampler
from streamtag.protocol.messages import End, Event, Gap, Hello
from tests.cli.serve_process import (
    CLOSE,
    END,
    Serve,
    as_pcm,
    begin,
    frames_of,
    numbers_of,
    pcm_samples,
    probs_of,
    push,
    session_probs,
    tones,
    until_frame,
)
from tests.examples.conftest import run
from tests.server.support import read, read_all


def test_producers_and_subscribers_receive_the_frames_of_sessions(server: Serve, tagger: Tagger) -> None:
    everything, single = server.connect("/"), server.connect("/streams/low")
    one = server.connect("/ingest/low")
    other = server.connect("/ingest/H%C3%B6he%202?rate=48000&format=f32le&channels=2")
    low, high = as_pcm(tones(9.3)), tones(7.1, 48000, seed=1).astype("<f4")
    stereo = np.stack([0.75 * high, 1.25 * high], axis=1).astype("<f4")
    assert [begin(one), begin(other)] == [0, 0]
    push(one, low)
    push(other, stereo.tobytes(), (40_001, 9))
    one.send(END)
    other.send(END)
    of_one, of_other = read_all(one), read_all(other)
    assert (one.close_code, other.close_code) == (1000, 1000)
    expected = session_probs(tagger, pcm_samples(low))
    assert numbers_of(of_one) == list(range(len(expected)))
    assert np.abs(probs_of(of_one) - expected).max() < CLOSE
    resampler = Resampler(48000)
    mono = np.concatenate([resampler.feed(stereo.mean(axis=1)), resampler.flush()])
    expected = session_probs(tagger, mono)
    assert numbers_of(of_other) == list(range(len(expected)))
    assert np.abs(probs_of(of_other) - expected).max() < CLOSE
    end = of_one[-1]
    assert isinstance(end, End)
    assert (end.stream, end.frames) == ("low", len(frames_of(of_one)))
    assert end.seconds == pytest.approx(9.3, abs=1e-3)
    assert list(end.summary.values()) == pytest.approx(probs_of(of_one).mean(axis=0), abs=1e-3)
    assert any(isinstance(message, Event) for message in of_one)
    ends, received = 0, []
    while ends < 2:
        received.append(read(everything))
        ends += isinstance(received[-1], End)
    by_stream = {name: [m for m in received if getattr(m, "stream", None) == name] for name in ("low", "Höhe 2")}
    assert by_stream == {"low": of_one, "Höhe 2": of_other}
    assert isinstance(read(single), Hello)
    assert [read(single) for _ in of_one] == of_one


def test_the_example_moves_a_stream_without_a_break(servers: tuple[Serve, Serve], tagger: Tagger) -> None:
    first, second = servers
    pcm = as_pcm(tones(8))
    cut, expected = 59_200, session_probs(tagger, pcm_samples(pcm))
    goes = first.connect("/ingest/mover")
    begin(goes)
    push(goes, pcm[: 2 * cut + 1])  # with half a sample
    received = until_frame(goes, 12)  # the last of 3.7 s
    urls = [each.address.replace("ws", "http", 1) for each in servers]
    done = run("move_a_stream.py", "mover", *urls)
    assert done.stderr == ""
    moved = re.fullmatch(r"mover: \d+ KiB moved; it continues at (ws://\S+)\?position=(\d+)\n", done.stdout)
    assert moved is not None
    assert moved[1] == f"{second.address}/ingest/mover"
    position = int(moved[2])
    arrives = second.connect(f"/ingest/mover?position={position}")
    assert begin(arrives) == position
    assert abs(position - cut) < 16_000  # the rest still waits in the first server
    push(arrives, pcm[2 * position :])
    arrives.send(END)
    received += read_all(arrives)
    assert not [message for message in received if isinstance(message, Gap)]
    assert numbers_of(received) == list(range(len(expected)))
    assert np.abs(probs_of(received) - expected).max() < CLOSE
    again = run("move_a_stream.py", "nobody", *urls)
    assert (again.returncode, again.stderr) == (1, "nobody: there is no stream of that name\n")
