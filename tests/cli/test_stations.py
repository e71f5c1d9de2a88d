"""`streamtag listen` with several sources: those that play are tagged, whatever becomes of the others."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from streamtag.audio.devices import SoundSystem
from streamtag.cli.live_inputs import LiveInput, live_inputs
from streamtag.cli.live_runner import Limits
from streamtag.cli.program import UsageError
from streamtag.cli.stations import SourceState, Station
from streamtag.protocol.messages import Error, Message
from streamtag.scheduler.scheduler import Scheduler
from tests.audio.radio import Radio
from tests.audio.rtsp_server import running
from tests.cli.conftest import Run, StartProgram, pipe, read_rest
from tests.sounds import Encode, Tone

SOUND_S = 5.0
URL, OTHER = "http://example.org/radio.mp3?a=b", "rtsp://example.org/live"
Messages = list[dict[str, Any]]


@pytest.fixture
def radio(tmp_path: Path, encode: Encode, tone: Tone) -> Iterator[Radio]:
    sound = encode(tmp_path / "part.aac", tone(SOUND_S, 44100), 44100, "aac").read_bytes()
    with running(Radio(sound, len(sound) / SOUND_S, off={"missing"}, noisy={"page"})) as radio:
        yield radio


def of(found: Messages, stream: str, kind: str) -> Messages:
    return [message for message in found if message["type"] == kind and message.get("stream") == stream]


def names(addresses: list[str], selectors: list[str]) -> list[str | None]:
    return [each.name for each in live_inputs(addresses, selectors, None, False, None, None)]


def test_each_of_several_sources_has_a_name_of_its_own() -> None:
    assert names([URL, f"jazz={URL}", "jazz=-", OTHER], ["USB", "3"]) == [
        *("radio.mp3", "jazz", "jazz (2)", "live", "USB", "input 3"),
    ]
    assert live_inputs([f"jazz={URL}", OTHER], [], None, False, None, None)[0].where == URL
    assert live_inputs([], ["USB"], 2, False, None, None) == [LiveInput(selector="USB", channel=2)]
    assert live_inputs([f"jazz={URL}"], [], None, False, None, None) == [LiveInput(URL, name="jazz")]


@pytest.mark.parametrize(
    ("addresses", "selectors", "channel", "is_system", "name", "reason"),
    [
        ([URL], [], None, True, None, "--system is the only source"),
        ([], ["a", "b"], 1, False, None, "--channel goes with one"),
        ([URL], ["a"], None, False, "x", "write --from NAME=URL"),
        (["-", "a=-"], [], None, False, None, "only once"),
        (["a=b"], [], None, False, None, "a file, not an address"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    addresses: list[str], selectors: list[str], channel: int | None, is_system: bool, name: str | None, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        live_inputs(addresses, selectors, channel, is_system, None, name)


@pytest.mark.usefixtures("one")
def test_dead_sources_have_a_line_each_and_the_others_continue(streamtag: Run, radio: Radio, tmp_path: Path) -> None:
    dead = {"missing": "404", "page": "cannot be reached", "refused": "connection refused", "Nowhere": "input"}
    addresses = [radio.address("one"), f"two={radio.address('a')}", radio.address("missing"), radio.address("page")]
    sources = [argument for where in [*addresses, "refused=http://127.0.0.1:9/"] for argument in ("--from", where)]
    record = tmp_path / "r.jsonl"
    answer = streamtag("listen", *sources, "--input", "Nowhere", "--json", "--for", "3.5", "--record", record)
    assert answer.code == 1  # since one of them can never be used
    assert "Traceback" not in answer.err
    found: Messages = [json.loads(line) for line in answer.out.splitlines()]
    for name in ("one", "two"):
        assert [frame["frame"] for frame in of(found, name, "frame")] == list(range(14))
        assert of(found, name, "end")[0]["seconds"] == 3.5
        assert of(found, name, "error") == []
    for name, reason in dead.items():
        (error,) = of(found, name, "error")
        assert reason in error["message"].lower()
        assert sum(line.startswith(f"streamtag: {name}: ") for line in answer.err.splitlines()) == 1
        assert len(of(found, name, "end")) == 1
    assert radio.connections["missing"] > 1  # it is tried again
    kept: Messages = [json.loads(line) for line in record.read_text().splitlines()]
    assert sorted(json.dumps(line | {"at": 0}) for line in kept) == sorted(
        json.dumps(line | {"at": 0}) for line in found
    )


@pytest.mark.usefixtures("one")
def test_a_pipe_gets_lines_with_names_and_the_verdicts_at_the_end(streamtag: Run, radio: Radio) -> None:
    addresses = [radio.address("one"), f"two={radio.address('a')}", radio.address("missing")]
    sources = [argument for where in addresses for argument in ("--from", where)]
    answer = streamtag("listen", *sources, "--for", "2", "--top", "1")
    assert answer.code == 0
    for name in ("one", "two"):
        assert any(line.startswith(f"{name}  0:01  ") for line in answer.lines)
    assert [line.split("  ")[:2] for line in answer.lines[-2:]] == [["one", "0:02"], ["two", "0:02"]]
    assert answer.err.startswith("streamtag: listening to one, two, missing\n")


def test_nothing_is_left_of_inputs_that_do_not_exist(streamtag: Run) -> None:
    answer = streamtag("listen", "--input", "Nowhere", "--input", "Nothing", "--quiet")
    assert answer.code == 1
    assert sorted(line.split(": ")[1] for line in answer.err.splitlines()) == ["Nothing", "Nowhere"]


def test_a_station_that_breaks_off_comes_back_with_a_gap_and_ctrl_c_ends_all(
    program: StartProgram, model: Path, radio: Radio
) -> None:
    sources = [argument for name in ("one", "two", "missing") for argument in ("--from", radio.address(name))]
    process = program("listen", *sources, "--json", "--model", model, "--device", "cpu")
    found: Messages = []

    def until(stream: str, kind: str) -> None:
        while not found or (found[-1]["type"], found[-1].get("stream")) != (kind, stream):
            found.append(json.loads(pipe(process.stdout).readline()))

    until("two", "frame")
    radio.off.add("two")
    until("two", "error")
    radio.off.discard("two")
    until("two", "gap")
    until("two", "frame")
    process.send_signal(signal.SIGINT)
    out, errors = read_rest(process)
    found += [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "streamtag: two: http://127.0.0.1:" in errors
    assert {message["stream"] for message in found if message["type"] == "end"} == {"one", "two", "missing"}
    (gap,) = of(found, "two", "gap")
    assert gap["lost_s"] > 0.3
    assert of(found, "one", "gap") == []
    assert of(found, "two", "frame")[-1]["start"] > gap["start"] + gap["lost_s"] - 0.6


@pytest.mark.usefixtures("one")
def test_a_source_faster_than_the_clock_waits_for_its_turn_and_is_reset_when_sound_returns(streamtag: Run) -> None:
    noise = (0.2 * np.random.default_rng(7).standard_normal(12 * 16000)).clip(-1, 1).astype(np.float32)
    noise[5 * 16000 : 8 * 16000] = 0
    raw = ["--from", "room=-", "--rate", "16000", "--format", "f32le", "--reset-on-silence", "2"]
    answer = streamtag("listen", *raw, "--input", "Nowhere", "--json", stdin=noise.tobytes())
    found: Messages = [json.loads(line) for line in answer.out.splitlines()]
    assert [frame["frame"] for frame in of(found, "room", "frame")] == list(range(47))
    assert of(found, "room", "gap") == []
    assert of(found, "room", "end")[0]["seconds"] == 12
    assert answer.err.count("streamtag: room: the network's context was reset") == 1


class BrokenInput(LiveInput):
    def open(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")


class NoScheduler:
    """A scheduler whose streams take anything."""

    def __init__(self) -> None:
        self.has_ended = threading.Event()

    def open(self, *_: Any) -> Any:
        return SimpleNamespace(end=self.has_ended.set, position=0)


def test_a_source_with_a_defect_fails_alone_and_is_reported() -> None:
    messages: list[Message] = []
    station, scheduler = Station(BrokenInput(URL), "one", messages.append, lambda _: None), NoScheduler()
    station.start(cast(Scheduler, scheduler), cast(SoundSystem, None), Limits())
    station.join(10)
    assert scheduler.has_ended.is_set()
    assert (station.has_failed, station.state) == (True, SourceState.ended)
    assert messages == [Error("the source cannot go on: RuntimeError('a defect')", "one")]
