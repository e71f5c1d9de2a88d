"""A zip in parts: unpacked as it lies there, and every way in which it may be none."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.errors import ManifestError, OutputError
from trainer.data.archive import MAX_MP3_BYTES, ConcatenatedFiles, unpack

MEMBERS = {"0/a.mp3": b"first" * 300, "0/b.mp3": b"", "f/c d.mp3": bytes(range(256)) * 20}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        archive.mkdir("0")
        for name, content in members.items():
            archive.writestr(name, content)
    return whole.getvalue()


def cut(content: bytes, folder: Path, places: Sequence[int] = (200, 400)) -> list[Path]:
    """Parts of bytes of `content`, cut at these places."""
    paths = []
    for number, (start, stop) in enumerate(pairwise([0, *sorted(places), len(content)]), start=1):
        paths.append(folder / f"mp3.zip.{number:03d}")
        paths[-1].write_bytes(content[start:stop])
    return paths


def unpacked(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@settings(max_examples=40)
@given(places=st.lists(st.integers(0, 1000), min_size=0, max_size=4), reads=st.lists(st.integers(0, 700), max_size=6))
def test_joined_files_read_as_one(
    places: list[int], reads: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytes(i * 31 % 256 for i in range(1000))
    with io.BufferedReader(ConcatenatedFiles(cut(content, tmp_path_factory.mktemp("joined"), places)), 64) as joined:
        assert joined.read() == content
        reference = io.BytesIO(content)
        for size in reads:
            assert joined.seek(size) == reference.seek(size)
            assert joined.read(size) == reference.read(size)
        assert joined.seek(-7, io.SEEK_END) == 993
        assert joined.seek(-100, io.SEEK_CUR) == 893
        with pytest.raises(OSError, match="before the start"):
            joined.seek(-1001, io.SEEK_END)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_is_in_it_comes_out(tmp_path: Path, method: int) -> None:
    parts, root = cut(zipped(MEMBERS, method), tmp_path), tmp_path / "out"
    root.mkdir()
    assert list(unpack(parts, root, pytest.fail))[-1] == (3, 3)
    assert unpacked(root) == MEMBERS


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    parts, root = cut(zipped(MEMBERS), tmp_path), tmp_path / "out"
    root.mkdir()
    running = unpack(parts, root, pytest.fail)
    next(running)
    del running
    assert len(unpacked(root)) == 1
    (root / "0/a.mp3").write_bytes(b"half")  # as nobody but a failing disk leaves it
    list(unpack(parts, root, pytest.fail))
    assert unpacked(root) == MEMBERS
    for path in root.rglob("*.mp3"):
        path.chmod(0o400)
    list(unpack(parts, root, pytest.fail))  # nothing is written again


def test_a_damaged_member_is_named_after_the_others_are_out(tmp_path: Path) -> None:
    content = zipped(MEMBERS, zipfile.ZIP_STORED).replace(b"firstfirst", b"firstFirst", 1)
    root = tmp_path / "out"
    root.mkdir()
    with pytest.raises(ManifestError, match=r"mp3\.zip\.001 and the parts after it: 1 damaged: 0/a\.mp3: remove"):
        list(unpack(cut(content, tmp_path), root, pytest.fail))
    assert unpacked(root) == {name: content for name, content in MEMBERS.items() if name != "0/a.mp3"}


@pytest.mark.parametrize("lost", [1, 30, 300, 10_000])
def test_parts_that_are_cut_short_are_no_zip(tmp_path: Path, lost: int) -> None:
    content = zipped(MEMBERS)
    with pytest.raises(ManifestError, match="not a whole zip"):
        list(unpack(cut(content[: max(0, len(content) - lost)], tmp_path, (20,)), tmp_path, pytest.fail))


@pytest.mark.parametrize(
    "name",
    ["../a.mp3", "/etc/a.mp3", "0/../../a.mp3", "g/a.mp3", "0/x/a.mp3", "0/a.txt", "a.mp3", "__MACOSX/0/._a.mp3"],
)
def test_strays_are_left_out_and_reported(tmp_path: Path, name: str) -> None:
    root, left_out = tmp_path / "deep" / "out", list[str]()
    root.mkdir(parents=True)
    assert list(unpack(cut(zipped({name: b"x", **MEMBERS}), tmp_path), root, left_out.append))[-1] == (3, 3)
    assert unpacked(root) == MEMBERS
    assert left_out == [f"{name!r} in the archive is not FOLDER/NAME.mp3 with FOLDER 0-f"]
    assert unpacked(tmp_path / "deep").keys() == {f"out/{member}" for member in MEMBERS}, "nothing beside the folder"


def test_members_that_are_far_too_large_are_left_out(tmp_path: Path) -> None:
    content, left_out, root = zipped({**MEMBERS, "0/z.mp3": b"\0" * (MAX_MP3_BYTES + 1)}), list[str](), tmp_path / "out"
    root.mkdir()
    list(unpack(cut(content, tmp_path), root, left_out.append))
    assert left_out == ["'0/z.mp3' in the archive has 16,777,217 bytes"]
    assert unpacked(root) == MEMBERS


def test_a_directory_that_claims_nothing_is_noticed(tmp_path: Path) -> None:
    content = bytearray(zipped(MEMBERS, zipfile.ZIP_STORED))
    entry = content.rindex(b"0/a.mp3") - 46  # of the directory
    assert content[entry : entry + 4] == b"PK\x01\x02"
    # its checksum and packed size, 8 bytes, say that there is nothing
    content[entry + 16 : entry + 24] = bytes(8)
    root = tmp_path / "out"
    root.mkdir()
    with pytest.raises(ManifestError, match="1 damaged"):
        list(unpack(cut(bytes(content), tmp_path), root, pytest.fail))
    assert unpacked(root).items() < MEMBERS.items()


@settings(max_examples=150)
@given(place=st.integers(0, 1 << 16), value=st.integers(0, 255), size=st.integers(1, 8))
def test_wrong_bytes_anywhere_are_noticed_or_harmless(
    place: int, value: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("wrong")
    content = bytearray(zipped(MEMBERS))
    place %= len(content)
    content[place : place + size] = bytes([value]) * len(content[place : place + size])
    root = folder / "out"
    root.mkdir()
    with suppress(ManifestError, OutputError):
        list(unpack(cut(bytes(content), folder), root, lambda _: None))
    for name, found in unpacked(root).items():
        assert MEMBERS.get(name, found) == found


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="are needed"):
        list(unpack(cut(zipped(MEMBERS), tmp_path), tmp_path, pytest.fail))
