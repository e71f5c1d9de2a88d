"""MagnaTagATune, in miniature, from a host on this machine: fetched, checked, unpacked, and gone on with."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtag.errors import ManifestError, SourceError, SpecError
from tests.trainer.conftest import Command
from tests.trainer.fake_host import FakeHost
from tests.trainer.synthetic_magnatagatune import SyntheticSet, publish
from trainer.data import download
from trainer.data.dataset import read_dataset
from trainer.data.download import ARCHIVE, TABLES, RemoteFile
from trainer.data.fetch import RetryPolicy

PARTS = ARCHIVE.parts
POLICY = RetryPolicy(timeout_s=5.0, attempts=3, pause_s=0.01)


@pytest.fixture
def host(dataset: SyntheticSet, tmp_path: Path) -> Iterator[FakeHost]:
    with FakeHost(publish(dataset, tmp_path / "host")).open() as opened:
        yield opened


@pytest.fixture
def fetch(host: FakeHost, run: Command) -> Command:
    """fetch(folder, *options) -> exit code, standard output and standard error of `download` from the host."""
    return lambda root, *options: run("download", root, "--base-url", host.url, *options)


def ignore(name: str, done: int, total: int | None) -> None:
    pass


def mp3s(root: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in root.glob("?/*.mp3")}


def test_the_whole_set_is_downloaded_and_readable(
    dataset: SyntheticSet, host: FakeHost, fetch: Command, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    code, out, err = fetch(root, "--accept-changes")
    assert (code, out) == (0, ""), err
    assert err.count("warning:") == 2  # the miniature has other md5s than the real set
    assert mp3s(root) == mp3s(dataset.root)
    assert read_dataset(root).clips[0].clip_id == dataset.clips[0].clip_id
    for part in PARTS:
        (root / part).unlink()
    assert fetch(root, "--accept-changes")[0] == 0
    assert all(host.requests[part] == [0] for part in PARTS)  # the MP3s are there: nothing is fetched again
    (root / dataset.clips[0].path).unlink()
    assert fetch(root, "--accept-changes")[0] == 0
    assert mp3s(root) == mp3s(dataset.root)


def test_other_md5s_stop_it_before_anything_is_unpacked(fetch: Command, tmp_path: Path) -> None:
    code, _, err = fetch(tmp_path / "in")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("trainer: ")]
    assert "annotations_final.csv: md5 " in line
    assert TABLES[0].md5 is not None
    assert f"not {TABLES[0].md5}" in line
    assert "--accept-changes" in line
    assert mp3s(tmp_path / "in") == {}


@pytest.mark.slow
def test_a_killed_download_keeps_what_has_arrived(
    dataset: SyntheticSet, host: FakeHost, fetch: Command, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    size = (host.folder / PARTS[1]).stat().st_size
    host.break_off[PARTS[1]] = size // 2
    host.tricks[PARTS[1]].add("stalling")
    words = [sys.executable, "-m", "trainer", "download", str(root), "--base-url", host.url]
    running = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    part, end = root / f"{PARTS[1]}.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == size // 2) and running.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    host.break_off.clear()
    host.tricks.clear()
    assert fetch(root, "--accept-changes")[0] == 0
    assert mp3s(root) == mp3s(dataset.root)
    assert host.sent[PARTS[1]] == size
    assert all((root / name).read_bytes() == (host.folder / name).read_bytes() for name in PARTS)


def test_a_user_who_ends_it_does_not_wait_for_a_silent_host(host: FakeHost, tmp_path: Path) -> None:
    host.tricks[PARTS[1]].add("silent")
    words = [sys.executable, "-m", "trainer", "download", str(tmp_path / "in"), "--base-url", host.url]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not host.requests[PARTS[1]]:
        assert time.monotonic() < end
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)  # the host would be waited for 30 s
    assert running.returncode == 130
    assert "Traceback" not in errors


def test_files_are_downloaded_in_parallel(host: FakeHost, tmp_path: Path) -> None:
    host.tricks[PARTS[0]].add("silent")
    with pytest.raises(SourceError, match=PARTS[0]):
        download.download_files(tmp_path / "in", host.url, (*TABLES, ARCHIVE), ignore, RetryPolicy(1.0, attempts=1))
    assert {path.name for path in (tmp_path / "in").iterdir()} >= {*PARTS[1:], TABLES[0].name, TABLES[1].name}


def test_md5_is_that_of_the_joined_parts(host: FakeHost, tmp_path: Path) -> None:
    root = tmp_path / "in"
    joined = b"".join((host.folder / part).read_bytes() for part in PARTS)
    right = RemoteFile("mp3.zip", hashlib.md5(joined).hexdigest(), PARTS)
    wrong = RemoteFile("mp3.zip", hashlib.md5(joined[1:]).hexdigest(), PARTS)
    download.download_files(root, host.url, (right,), ignore, POLICY)
    progress: list[tuple[str, int, int | None]] = []
    assert list(download.md5_differences(root, (right, TABLES[1]), lambda *words: progress.append(words))) == []
    assert progress[-1] == ("md5 of mp3.zip", len(joined), len(joined))
    (line,) = download.md5_differences(root, (wrong,), ignore)
    assert f"md5 {right.md5}, not {wrong.md5}" in line


def test_annotated_clips_missing_from_the_archive_are_reported(
    dataset: SyntheticSet, host: FakeHost, tmp_path: Path
) -> None:
    table = host.folder / TABLES[0].name
    table.write_text(table.read_text().replace(dataset.clips[0].path, "0/never.mp3"))
    download.download_files(tmp_path / "in", host.url, (*TABLES, ARCHIVE), ignore, POLICY)
    with pytest.raises(ManifestError, match=r"1 annotated MP3s are not in the archive, 0/never\.mp3"):
        download.unpack_archive(tmp_path / "in", ignore, pytest.fail)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/", "nonsense", "http://", "http://[::1"])
def test_invalid_addresses_are_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(SpecError, match="--base-url"):
        download.download_files(tmp_path, address, TABLES, ignore)
