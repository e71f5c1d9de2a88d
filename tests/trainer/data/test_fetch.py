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
POLICY = RetryPolicy(timeout_s=5.0, attempts=4, pause_s=0.01)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / NAME).write_bytes((bytes(i * 7 % 251 for i in range(251)) * 4000)[:SIZE])
    with FakeHost(tmp_path / "host").open() as opened:
        yield opened


class Target:
    """Where the file goes, and what was reported on the way."""

    def __init__(self, host: FakeHost, folder: Path) -> None:
        self.host, self.path, self.progress = host, folder / "in" / NAME, [(0, 0)]
        self.part = self.path.with_name(f"{NAME}.part")
        self.stop = threading.Event()

    def fetch(self, policy: RetryPolicy = POLICY) -> None:
        with httpx.Client(timeout=policy.timeout_s) as client:
            Download(client, self.host.url + NAME, self.path, policy).run(self.on_progress, self.stop)

    def on_progress(self, done: int, total: int | None) -> None:
        self.progress.append((done, total or 0))

    def is_complete(self) -> bool:
        return self.path.read_bytes() == (self.host.folder / NAME).read_bytes() and not self.leftovers()

    def leftovers(self) -> list[str]:
        return [path.name for path in self.path.parent.iterdir() if path != self.path]


@pytest.fixture
def target(host: FakeHost, tmp_path: Path) -> Target:
    return Target(host, tmp_path)


def test_a_good_host_gets_one_request(host: FakeHost, target: Target) -> None:
    target.fetch()
    assert target.is_complete()
    assert host.requests[NAME] == [0]
    assert target.progress[-1] == (SIZE, SIZE)
    target.fetch()
    assert host.requests[NAME] == [0]


def test_an_interrupted_download_requests_the_rest(host: FakeHost, target: Target) -> None:
    host.break_off[NAME] = 300_000
    target.fetch()
    assert target.is_complete()
    assert host.requests[NAME] == [0, 300_000, 600_000, 900_000]
    assert host.sent[NAME] == SIZE


def test_what_was_fetched_before_a_kill_is_not_fetched_again(host: FakeHost, target: Target) -> None:
    host.break_off[NAME] = 600_000
    with pytest.raises(SourceError, match="600,000 bytes are kept"):
        target.fetch(RetryPolicy(5.0, attempts=1))
    del host.break_off[NAME]
    target.fetch()
    assert target.is_complete()
    assert host.sent[NAME] == SIZE


def test_a_complete_part_file_needs_no_request(host: FakeHost, target: Target) -> None:
    target.path.parent.mkdir()
    target.part.write_bytes((host.folder / NAME).read_bytes())
    target.path.with_name(f"{NAME}.part.json").write_text(json.dumps({"validator": '"1"', "total": SIZE}))
    target.fetch()
    assert target.is_complete()
    assert host.requests[NAME] == []


@pytest.mark.parametrize("trick", ["whole", "shifted", "changing", "nameless"])
def test_a_mismatched_range_is_not_used(host: FakeHost, target: Target, trick: str) -> None:
    host.tricks[NAME].add(trick)
    host.break_off[NAME] = 600_000
    with pytest.raises(SourceError):
        target.fetch()
    del host.break_off[NAME]
    target.fetch()
    assert target.is_complete()


@pytest.mark.parametrize("claimed", [SIZE + 1, 10 * SIZE])
def test_a_shorter_body_than_announced_is_never_accepted(host: FakeHost, target: Target, claimed: int) -> None:
    host.claim[NAME] = claimed
    with pytest.raises(SourceError, match="cannot be fetched"):
        target.fetch()
    assert not target.path.exists()


def test_transient_errors_are_retried_and_permanent_ones_are_not(host: FakeHost, target: Target) -> None:
    host.status_codes[NAME] = [503, 429, 500]
    target.fetch()
    assert target.is_complete()
    target.path.unlink()
    for code in (404, 403, 410):
        host.status_codes[NAME], before = [code], len(host.requests[NAME])
        with pytest.raises(SourceError, match=f"the server says {code}"):
            target.fetch()
        assert len(host.requests[NAME]) == before + 1


def test_retries_end_for_a_busy_or_silent_host(host: FakeHost, target: Target) -> None:
    host.status_codes[NAME] = [503] * 9
    with pytest.raises(SourceError, match="the server says 503: 0 bytes are kept"):
        target.fetch()
    assert len(host.requests[NAME]) == POLICY.attempts
    host.status_codes.clear()
    host.tricks[NAME].add("silent")
    with pytest.raises(SourceError, match="cannot be fetched"):
        target.fetch(RetryPolicy(timeout_s=0.2, attempts=2, pause_s=0.01))


def test_compressed_bytes_are_refused(host: FakeHost, target: Target) -> None:
    host.tricks[NAME].add("encoded")
    with pytest.raises(SourceError, match="sent as gzip"):
        target.fetch()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"validator": 1}', '{"validator": "\\"1\\"", "total": "many"}'])
def test_a_damaged_version_note_restarts_the_download(target: Target, note: str) -> None:
    target.path.parent.mkdir()
    target.part.write_bytes(b"something else")
    target.path.with_name(f"{NAME}.part.json").write_text(note)
    target.fetch()
    assert target.is_complete()


def test_a_download_stops_on_request(host: FakeHost, target: Target) -> None:
    target.stop.set()
    with pytest.raises(StoppedError):
        target.fetch()
    host.status_codes[NAME] = [503] * 9
    with pytest.raises(StoppedError):
        target.fetch(RetryPolicy(5.0, attempts=9, pause_s=60.0))  # in the pause


def test_no_room_and_no_folder(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(OutputError, match=r"0\.00 GB are needed"):
            target.fetch()
    for path in target.path.parent.iterdir():
        path.unlink()
    target.path.parent.rmdir()
    target.path.parent.write_text("a file")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        target.fetch()
    assert isinstance(caught.value, StreamtagError)
