"""One file from hosts that break off, lie about lengths, change their mind, or say nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streamtag.errors import OutputError, SourceError, StreamtagError
from tests.trainer.fake_host import FakeHost
from trainer.data.fetch import Download, RetryPolicy, StoppedError

NAME = "file.bin"
SIZE = 1_000_000
PATIENCE = RetryPolicy(timeout_s=5.0, attempts=4, pause_s=0.01)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / NAME).write_bytes(bytes(i * 7 % 251 for i in range(SIZE)))
    with FakeHost(tmp_path / "host").open() as opened:
        yield opened


class Sink:
    """Where the file goes, and what was reported on the way."""

    def __init__(self, host: FakeHost, folder: Path) -> None:
        self.host, self.path, self.told = host, folder / "in" / NAME, [(0, 0)]
        self.part = self.path.with_name(f"{NAME}.part")
        self.stop = threading.Event()

    def fetch(self, patience: RetryPolicy = PATIENCE) -> None:
        with httpx.Client(timeout=patience.timeout_s) as client:
            Download(client, self.host.url + NAME, self.path, patience).run(self.tell, self.stop)

    def tell(self, done: int, total: int | None) -> None:
        self.told.append((done, total or 0))

    def right(self) -> bool:
        return self.path.read_bytes() == (self.host.folder / NAME).read_bytes() and not self.leftovers()

    def leftovers(self) -> list[str]:
        return [path.name for path in self.path.parent.iterdir() if path != self.path]


@pytest.fixture
def sink(host: FakeHost, tmp_path: Path) -> Sink:
    return Sink(host, tmp_path)


def test_a_good_host_is_asked_once(host: FakeHost, sink: Sink) -> None:
    sink.fetch()
    assert sink.right()
    assert host.asked[NAME] == [0]
    assert sink.told[-1] == (SIZE, SIZE)
    sink.fetch()
    assert host.asked[NAME] == [0]


def test_a_host_that_breaks_off_is_asked_for_the_rest(host: FakeHost, sink: Sink) -> None:
    host.break_off[NAME] = 300_000
    sink.fetch()
    assert sink.right()
    assert host.asked[NAME] == [0, 300_000, 600_000, 900_000]
    assert host.sent[NAME] == SIZE


def test_what_was_fetched_before_a_kill_is_not_fetched_again(host: FakeHost, sink: Sink) -> None:
    host.break_off[NAME] = 600_000
    with pytest.raises(SourceError, match="600,000 bytes are kept"):
        sink.fetch(RetryPolicy(5.0, attempts=1))
    del host.break_off[NAME]
    sink.fetch()
    assert sink.right()
    assert host.sent[NAME] == SIZE


def test_stopped_before_the_last_step_nothing_is_asked(host: FakeHost, sink: Sink) -> None:
    sink.path.parent.mkdir()
    sink.part.write_bytes((host.folder / NAME).read_bytes())
    sink.path.with_name(f"{NAME}.part.json").write_text(json.dumps({"validator": '"1"', "total": SIZE}))
    sink.fetch()
    assert sink.right()
    assert host.asked[NAME] == []


@pytest.mark.parametrize("trick", ["whole", "shifted", "changing", "nameless"])
def test_a_rest_that_does_not_fit_is_not_used(host: FakeHost, sink: Sink, trick: str) -> None:
    host.tricks[NAME].add(trick)
    host.break_off[NAME] = 600_000
    with pytest.raises(SourceError):
        sink.fetch()
    del host.break_off[NAME]
    sink.fetch()
    assert sink.right()


@pytest.mark.parametrize("claimed", [SIZE + 1, 10 * SIZE])
def test_more_announced_than_sent_is_never_taken_for_the_file(host: FakeHost, sink: Sink, claimed: int) -> None:
    host.claim[NAME] = claimed
    with pytest.raises(SourceError, match="cannot be fetched"):
        sink.fetch()
    assert not sink.path.exists()


def test_less_announced_than_sent_gives_what_was_announced(host: FakeHost, sink: Sink) -> None:
    """Nobody can notice here: md5 and zip do."""
    host.claim[NAME] = SIZE // 2
    sink.fetch()
    assert sink.path.stat().st_size == SIZE // 2


def test_a_busy_host_is_asked_again_and_a_hopeless_one_is_not(host: FakeHost, sink: Sink) -> None:
    host.say[NAME] = [503, 429, 500]
    sink.fetch()
    assert sink.right()
    sink.path.unlink()
    for code in (404, 403, 410):
        host.say[NAME], before = [code], len(host.asked[NAME])
        with pytest.raises(SourceError, match=f"the server says {code}"):
            sink.fetch()
        assert len(host.asked[NAME]) == before + 1


def test_a_host_that_stays_busy_or_silent_is_given_up(host: FakeHost, sink: Sink) -> None:
    host.say[NAME] = [503] * 9
    with pytest.raises(SourceError, match="the server says 503: 0 bytes are kept"):
        sink.fetch()
    assert len(host.asked[NAME]) == PATIENCE.attempts
    host.say.clear()
    host.tricks[NAME].add("silent")
    with pytest.raises(SourceError, match="cannot be fetched"):
        sink.fetch(RetryPolicy(timeout_s=0.2, attempts=2, pause_s=0.01))


def test_compressed_bytes_are_refused(host: FakeHost, sink: Sink) -> None:
    host.tricks[NAME].add("encoded")
    with pytest.raises(SourceError, match="sent as gzip"):
        sink.fetch()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"validator": 1}', '{"validator": "\\"1\\"", "total": "many"}'])
def test_a_damaged_note_costs_a_new_start_and_no_more(sink: Sink, note: str) -> None:
    sink.path.parent.mkdir()
    sink.part.write_bytes(b"something else")
    sink.path.with_name(f"{NAME}.part.json").write_text(note)
    sink.fetch()
    assert sink.right()


def test_it_stops_when_told(host: FakeHost, sink: Sink) -> None:
    sink.stop.set()
    with pytest.raises(StoppedError):
        sink.fetch()
    host.say[NAME] = [503] * 9
    with pytest.raises(StoppedError):
        sink.fetch(RetryPolicy(5.0, attempts=9, pause_s=60.0))  # in the pause


def test_no_room_and_no_folder(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(OutputError, match=r"0\.00 GB are needed"):
            sink.fetch()
    for path in sink.path.parent.iterdir():
        path.unlink()
    sink.path.parent.rmdir()
    sink.path.parent.write_text("a file")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        sink.fetch()
    assert isinstance(caught.value, StreamtagError)
