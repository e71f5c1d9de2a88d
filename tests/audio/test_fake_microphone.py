"""The fake microphone plays what it was given, in time, with faults where the script says."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.audio.capture import gaps_of, noise, read_all, samples_of
from tests.audio.fake_microphone import FakeMicrophone, Fault


def test_it_plays_at_its_speed_and_loses_nothing_in_a_stall() -> None:
    sound = noise(1.2, 16000, 1)
    began = time.monotonic()
    with FakeMicrophone(sound, speed=4.0, faults=[Fault(0.5, stall_s=0.4)]) as microphone:
        samples = samples_of(read_all(microphone))
    assert time.monotonic() - began > 0.5
    np.testing.assert_array_equal(samples, sound[:, 0])


def test_a_loss_of_the_script_is_a_gap_in_its_place() -> None:
    sound = noise(3, 16000, 1)
    with FakeMicrophone(sound, speed=np.inf, faults=[Fault(1.0, lost_s=0.5), Fault(2.9, lost_s=9)]) as microphone:
        events = read_all(microphone)
        assert microphone.xruns == 2
    assert gaps_of(events) == [8000, 1600]
    np.testing.assert_array_equal(samples_of(events), np.concatenate([sound[:16000, 0], sound[24000:46400, 0]]))


def test_a_late_reader_loses_what_the_ring_cannot_hold() -> None:
    with FakeMicrophone(noise(4, 16000, 1), speed=40, ring_s=0.5) as microphone:
        time.sleep(0.3)  # all of it was played by now
        assert gaps_of(read_all(microphone)) == [56000]


def test_an_exception_of_its_sound_is_raised_in_its_place() -> None:
    def broken() -> Iterator[NDArray[np.float32]]:
        yield noise(1, 16000, 1)
        raise OSError("the disk is gone")

    with FakeMicrophone(broken(), speed=np.inf) as microphone, pytest.raises(OSError, match="the disk is gone"):
        read_all(microphone)
