"""Downloading MagnaTagATune from its host or a mirror: two tables, and one zip file of MP3s in three parts.

The host publishes no md5. Those below are quoted by public code and have not been verified: a difference is reported,
and the user decides. Every MP3 is checked by the zip file's own CRC in any case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import httpx

from streamtag.errors import ManifestError, SpecError
from trainer.data.archive import unpack
from trainer.data.fetch import Download, RetryPolicy
from trainer.data.magnatagatune import ANNOTATIONS, AUDIO_FOLDERS, CLIP_INFO, read_annotations

BASE_URL = "https://mirg.city.ac.uk/datasets/magnatagatune/"
BLOCK_BYTES = 1 << 22
STOP_TIMEOUT_S = 2.0  # for the other files, once one has failed

OnProgress = Callable[[str, int, int | None], None]  # what, done, all if known


@dataclass(frozen=True)
class RemoteFile:
    """A file of the data set, which the host keeps in `parts`. `md5` is that of the joined parts, None if unknown."""

    name: str
    md5: str | None
    parts: tuple[str, ...]


TABLES = (
    RemoteFile(ANNOTATIONS, "f04fa01752a8cc64f6e1ca142a0fef1d", (ANNOTATIONS,)),
    RemoteFile(CLIP_INFO, None, (CLIP_INFO,)),
)
ARCHIVE = RemoteFile("mp3.zip", "f12add0eb4cd6c2a3ab7e4afaf7b7467", ("mp3.zip.001", "mp3.zip.002", "mp3.zip.003"))


def missing_files(root: Path) -> tuple[RemoteFile, ...]:
    """Return the files to download: also the archive, unless every MP3 of the annotations exists."""
    try:
        if (root / ANNOTATIONS).exists() and not missing_mp3s(root):
            return tuple(table for table in TABLES if not (root / table.name).exists())
    except ManifestError:
        pass  # these are not the real annotations: their md5 will differ
    return (*TABLES, ARCHIVE)


def missing_mp3s(root: Path) -> list[str]:
    """Return the MP3s in the annotations that do not exist."""
    mp3s = read_annotations(root / ANNOTATIONS).mp3s
    missing = [[mp3 for mp3 in mp3s if not (root / folder / mp3).is_file()] for folder in AUDIO_FOLDERS]
    return min(missing, key=len)


def download_files(
    root: Path, base_url: str, files: Sequence[RemoteFile], on_progress: OnProgress, policy: RetryPolicy | None = None
) -> None:
    """Download all files in parallel, keeping what arrives. Raises the first error, after stopping the others."""
    policy = policy or RetryPolicy()
    try:
        base = httpx.URL(base_url.rstrip("/") + "/")
    except httpx.InvalidURL as error:
        raise SpecError(f"--base-url {base_url}: {error}") from error
    if base.scheme not in ("http", "https") or not base.host:
        raise SpecError(f"--base-url {base_url}: not an address that begins with http:// or https://")
    names = [name for file in files for name in file.parts]
    stop, outcomes = Event(), SimpleQueue[Exception | None]()

    def download(client: httpx.Client, name: str) -> None:
        try:
            one = Download(client, str(base.join(name)), root / name, policy)
            one.run(lambda done, total: on_progress(name, done, total), stop)
            outcomes.put(None)
        except Exception as error:  # raised below
            outcomes.put(error)

    with httpx.Client(timeout=policy.timeout_s, follow_redirects=True) as client:
        # daemons, so that a user who ends the program does not wait for a host that sends nothing
        threads = [Thread(target=download, args=(client, name), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        failure = next((error for error in (outcomes.get() for _ in names) if error is not None), None)
        stop.set()
        for thread in threads:
            thread.join(STOP_TIMEOUT_S)
    if failure is not None:
        raise failure


def md5_differences(root: Path, files: Sequence[RemoteFile], on_progress: OnProgress) -> Iterator[str]:
    """Yield a line for each file whose md5 is not the known one."""
    for remote in files:
        if remote.md5 is None:
            continue
        digest = hashlib.md5(usedforsecurity=False)
        paths = [root / part for part in remote.parts]
        total, done = sum(path.stat().st_size for path in paths), 0
        for path in paths:
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    done += len(block)
                    on_progress(f"md5 of {remote.name}", done, total)
        if digest.hexdigest() != remote.md5:
            names = " + ".join(remote.parts)
            yield f"{root / names}: md5 {digest.hexdigest()}, not {remote.md5}: damaged, or changed by the host"


def unpack_archive(root: Path, on_progress: OnProgress, on_left_out: Callable[[str], None]) -> None:
    """Unpack the MP3s. Raises as `unpack` does, and ManifestError if annotated clips are not in the archive."""
    for done, total in unpack([root / part for part in ARCHIVE.parts], root, on_left_out):
        on_progress("unpacking", done, total)
    if missing := missing_mp3s(root):
        raise ManifestError(f"{root}: {len(missing):,} annotated MP3s are not in the archive, {missing[0]} the first")
