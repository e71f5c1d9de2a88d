"""Downloading one file over HTTP, resumably: what has arrived is kept, and the next attempt requests the rest.

    NAME.part         the bytes so far
    NAME.part.json    the file's length, and the version they belong to (ETag or Last-Modified)
    NAME              the complete file

An interrupted download is retried as long as attempts bring bytes. If the file has changed on the server, or the server
cannot send parts of it, the download starts over. The length must be the one that the server announced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

import httpx

from streamtag.errors import SourceError
from trainer.files import check_free_space, report_write_errors

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
PERMANENT_ERRORS = frozenset(range(400, 500)) - {408, 416, 425, 429}  # those mean: later, or without a range

OnProgress = Callable[[int, int | None], None]  # bytes so far, all bytes if known


@dataclass(frozen=True)
class RetryPolicy:
    """`timeout_s` without a byte; `attempts` in a row that bring none; `pause_s` after the first, then doubling."""

    timeout_s: float = 30.0
    attempts: int = 6
    pause_s: float = 1.0


class StoppedError(Exception):
    """The caller has asked this download to stop."""


class _TransientError(Exception):
    """This attempt failed; the next one may succeed."""


@dataclass(frozen=True)
class Version:
    """The version of a file on the server. `validator` is empty if the server gives none."""

    validator: str = ""
    total: int | None = None

    @classmethod
    def read(cls, path: Path) -> Version:
        """Return the noted version, or an unknown one if the note is missing or damaged."""
        try:
            found = json.loads(path.read_text())
            return cls(str(found["validator"]), None if found["total"] is None else int(found["total"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()


class Download:
    """One file on its way from `url` to `path`."""

    def __init__(self, client: httpx.Client, url: str, path: Path, policy: RetryPolicy) -> None:
        self._client, self.url, self.path, self._policy = client, url, path, policy
        self._part = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")

    def run(self, on_progress: OnProgress, stop: Event) -> None:
        """Download the file, unless it exists.

        Raises SourceError if it cannot be downloaded, OutputError if it cannot be written, and StoppedError once
        `stop` is set.
        """
        if self.path.exists():
            on_progress(self.path.stat().st_size, self.path.stat().st_size)
            return
        try:
            with report_write_errors(self.path, ": what has come is kept, run it again"):
                self._retry(on_progress, stop)
                self._part.replace(self.path)
                self._note.unlink(missing_ok=True)
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise SourceError(f"{self.url}: cannot be fetched: {error}") from error

    def _retry(self, on_progress: OnProgress, stop: Event) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                self._attempt(on_progress, stop)
                return
            except (_TransientError, httpx.TransportError) as error:
                failures = 1 if self._size() > before else failures + 1
                if failures >= self._policy.attempts:
                    reason = str(error) or type(error).__name__
                    raise SourceError(
                        f"{self.url}: cannot be fetched: {reason}: {self._size():,} bytes are kept, run it again"
                    ) from error
                if stop.wait(self._policy.pause_s * 2 ** (failures - 1)):
                    raise StoppedError from error

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _attempt(self, on_progress: OnProgress, stop: Event) -> None:
        size, known = self._size(), Version.read(self._note)
        if size and size == known.total:
            return  # it was stopped just before the end
        headers = {"Accept-Encoding": "identity"}
        if size and known.validator:
            headers |= {"Range": f"bytes={size}-", "If-Range": known.validator}
        with self._client.stream("GET", self.url, headers=headers) as response:
            position, version = self._check_response(response, size, known)
            self._part.parent.mkdir(parents=True, exist_ok=True)
            if not position:
                self._note.write_text(json.dumps(asdict(version)))
            if version.total is not None:
                check_free_space(self.path, self._part.parent, version.total - position)
            with self._part.open("r+b" if position else "wb") as file:
                file.seek(position)
                for chunk in response.iter_raw():
                    if stop.is_set():
                        raise StoppedError
                    file.write(chunk)
                    position += len(chunk)
                    on_progress(position, version.total)
        if version.total is not None and position != version.total:
            raise _TransientError(f"{position:,} bytes came, {version.total:,} were announced")

    def _check_response(self, response: httpx.Response, size: int, known: Version) -> tuple[int, Version]:
        """Return the position of the response's first byte, and the version of the file."""
        headers, status = response.headers, response.status_code
        if headers.get("Content-Encoding", "identity") != "identity":
            raise SourceError(f"{self.url}: cannot be fetched: sent as {headers['Content-Encoding']}")
        if status == 206:
            found = CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
            if found and int(found[1]) == size and int(found[3]) == known.total:
                return size, known
        elif status == 200:
            etag = headers.get("ETag", "")
            validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
            length = headers.get("Content-Length", "")
            return 0, Version(validator, int(length) if length.isdecimal() else None)
        elif status in PERMANENT_ERRORS:
            raise SourceError(f"{self.url}: cannot be fetched: the server says {status}")
        if status in (206, 416):  # not the requested part: request the whole file next
            self._note.unlink(missing_ok=True)
        raise _TransientError(f"the server says {status}")
