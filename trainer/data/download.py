"""MagnaTagATune from its host or a mirror: two tables, and one zip of MP3s in three parts.

No md5 is published. Those in the table are quoted by public code and were not verified here: what differs is said, and
the user decides. Every MP3 is checked by the zip's own CRC in any case.
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
from trainer.data.fetch import Fetch, RetryPolicy
from trainer.data.magnatagatune import ANNOTATIONS, CLIP_INFO, PLACES, read_annotations

BASE_URL = "https://mirg.city.ac.uk/datasets/magnatagatune/"
BLOCK = 1 << 22
GRACE_S = 2.0  # for the other files to stop, once one has failed

Report = Callable[[str, int, int | None], None]  # what, done, in all if known


@dataclass(frozen=True)
class Remote:
    """One file. md5: of the parts joined; None: nobody has quoted one. parts: names at the host."""

    name: str
    md5: str | None
    parts: tuple[str, ...]


TABLES = (
    Remote(ANNOTATIONS, "f04fa01752a8cc64f6e1ca142a0fef1d", (ANNOTATIONS,)),
    Remote(CLIP_INFO, None, (CLIP_INFO,)),
)
ARCHIVE = Remote("mp3.zip", "f12add0eb4cd6c2a3ab7e4afaf7b7467", ("mp3.zip.001", "mp3.zip.002", "mp3.zip.003"))


def wanted(root: Path) -> tuple[Remote, ...]:
    """What is not there yet: the archive too, unless every MP3 of the annotations is."""
    try:
        if (root / ANNOTATIONS).exists() and not missing(root):
            return tuple(table for table in TABLES if not (root / table.name).exists())
    except ManifestError:
        pass  # not the real one: its md5 will tell
    return (*TABLES, ARCHIVE)


def missing(root: Path) -> list[str]:
    """MP3s that the annotations name and that are not there."""
    mp3s = read_annotations(root / ANNOTATIONS).mp3s
    counts = [[mp3 for mp3 in mp3s if not (root / place / mp3).is_file()] for place in PLACES]
    return min(counts, key=len)


def fetch(
    root: Path, base_url: str, remotes: Sequence[Remote], report: Report, patience: RetryPolicy | None = None
) -> None:
    """All files at once; what has come is kept. Raises as Fetch does, for the first that fails; the others stop."""
    patience = patience or RetryPolicy()
    try:
        base = httpx.URL(base_url.rstrip("/") + "/")
    except httpx.InvalidURL as error:
        raise SpecError(f"--base-url {base_url}: {error}") from error
    if base.scheme not in ("http", "https") or not base.host:
        raise SpecError(f"--base-url {base_url}: not an address that begins with http:// or https://")
    names = [name for remote in remotes for name in remote.parts]
    stop, ended = Event(), SimpleQueue[Exception | None]()

    def one(client: httpx.Client, name: str) -> None:
        def tell(done: int, total: int | None) -> None:
            report(name, done, total)

        try:
            Fetch(client, str(base.join(name)), root / name, patience).run(tell, stop)
            ended.put(None)
        except Exception as error:  # whatever it is, it is raised below
            ended.put(error)

    with httpx.Client(timeout=patience.timeout_s, follow_redirects=True) as client:
        # daemons: a user who ends this does not wait for a host that says nothing
        threads = [Thread(target=one, args=(client, name), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        failed = next((error for error in (ended.get() for _ in names) if error is not None), None)
        stop.set()
        for thread in threads:
            thread.join(GRACE_S)
    if failed is not None:
        raise failed


def differences(root: Path, remotes: Sequence[Remote], report: Report) -> Iterator[str]:
    """A line for each file whose md5 is not the one in the table."""
    for remote in remotes:
        if remote.md5 is None:
            continue
        digest = hashlib.md5(usedforsecurity=False)
        paths = [root / part for part in remote.parts]
        total, done = sum(path.stat().st_size for path in paths), 0
        for path in paths:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    done += len(block)
                    report(f"md5 of {remote.name}", done, total)
        if digest.hexdigest() != remote.md5:
            where = " + ".join(remote.parts)
            yield f"{root / where}: md5 {digest.hexdigest()}, not {remote.md5}: damaged, or changed by the host"


def install(root: Path, report: Report) -> None:
    """The MP3s out of the parts. Raises as unpack does, and ManifestError if annotated clips are not among them."""
    for done, total in unpack([root / part for part in ARCHIVE.parts], root):
        report("unpacking", done, total)
    if absent := missing(root):
        raise ManifestError(f"{root}: {len(absent):,} annotated MP3s are not in the archive, {absent[0]} the first")
