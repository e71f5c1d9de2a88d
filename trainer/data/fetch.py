"""One file over HTTP, whole or not at all: what has come is kept, and the next attempt asks for the rest.

    NAME.part         the bytes so far
    NAME.part.json    its length, and which version of it they belong to by the server's word (ETag, Last-Modified)
    NAME              all of them

A server that breaks off is asked again, as long as attempts bring bytes; one that has changed the file meanwhile, or
cannot send parts of it, is taken from the start. What it sends must have the length that it announced.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx

from streamtag.errors import OutputError, SourceError

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
HOPELESS = range(400, 500)  # the server knows the file is not to be had ...
BUSY = (408, 425, 429)  # ... unless it only means: later

Report = Callable[[int, int | None], None]  # bytes there, bytes in all if known


@dataclass(frozen=True)
class RetryPolicy:
    """timeout_s: without a byte. attempts: in a row that bring none. pause_s: before the second, then doubling."""

    timeout_s: float = 30.0
    attempts: int = 6
    pause_s: float = 1.0


class StoppedError(Exception):
    """Another thread wants this one to end."""


class _BrokenError(Exception):
    """This attempt failed, the next one may not."""


@dataclass(frozen=True)
class Version:
    """Which file the server has. validator: empty if it does not say."""

    validator: str = ""
    total: int | None = None

    @classmethod
    def read(cls, path: Path) -> Version:
        """Nothing known if the note is missing or damaged."""
        try:
            found = json.loads(path.read_text())
            return cls(str(found["validator"]), None if found["total"] is None else int(found["total"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"validator": self.validator, "total": self.total}))


class Fetch:
    """One file on its way. Raises SourceError if it cannot be had, OutputError if it cannot be written."""

    def __init__(self, client: httpx.Client, url: str, path: Path, patience: RetryPolicy) -> None:
        self._client, self.url, self.path, self._patience = client, url, path, patience
        self._part = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")

    def run(self, report: Report, stop: Event) -> None:
        """Bring the file. Raises StoppedError if `stop` is set on the way."""
        if self.path.exists():
            report(self.path.stat().st_size, self.path.stat().st_size)
            return
        failures = 0
        try:
            while True:
                before = self._size()
                try:
                    self._attempt(report, stop)
                    break
                except (_BrokenError, httpx.TransportError) as error:
                    failures = 1 if self._size() > before else failures + 1
                    if failures >= self._patience.attempts:
                        reason = str(error) or type(error).__name__
                        raise SourceError(
                            f"{self.url}: cannot be fetched: {reason}: {self._size():,} bytes are kept, run it again"
                        ) from error
                    if stop.wait(self._patience.pause_s * 2 ** (failures - 1)):
                        raise StoppedError from error
            self._part.replace(self.path)
            self._note.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written: {error.strerror or error}: what has come is kept, run it again"
            ) from error
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise SourceError(f"{self.url}: cannot be fetched: {error}") from error

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _attempt(self, report: Report, stop: Event) -> None:
        there, known = self._size(), Version.read(self._note)
        if there and there == known.total:
            return  # stopped just before the end
        headers = {"Accept-Encoding": "identity"}
        if there and known.validator:
            headers |= {"Range": f"bytes={there}-", "If-Range": known.validator}
        with self._client.stream("GET", self.url, headers=headers) as response:
            start, version = self._opened(response, there, known)
            self._part.parent.mkdir(parents=True, exist_ok=True)
            if not start:
                version.write(self._note)
            self._check_room(version, start)
            with self._part.open("r+b" if start else "wb") as file:
                file.seek(start)
                for chunk in response.iter_raw():
                    if stop.is_set():
                        raise StoppedError
                    file.write(chunk)
                    start += len(chunk)
                    report(start, version.total)
        if version.total is not None and start != version.total:
            raise _BrokenError(f"{start:,} bytes came, {version.total:,} were announced")

    def _opened(self, response: httpx.Response, there: int, known: Version) -> tuple[int, Version]:
        """From which byte on the response tells, and of which version."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceError(f"{self.url}: cannot be fetched: sent as {response.headers['Content-Encoding']}")
        if response.status_code == 206:
            found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found and int(found[1]) == there and int(found[3]) == known.total:
                return there, known
        elif response.status_code == 200:
            etag = response.headers.get("ETag", "")
            validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
            length = response.headers.get("Content-Length", "")
            return 0, Version(validator, int(length) if length.isdecimal() else None)
        elif response.status_code in HOPELESS and response.status_code not in (*BUSY, 416):
            raise SourceError(f"{self.url}: cannot be fetched: the server says {response.status_code}")
        if response.status_code in (206, 416):  # not the part that was asked for: all of it then
            self._note.unlink(missing_ok=True)
        raise _BrokenError(f"the server says {response.status_code}")

    def _check_room(self, version: Version, start: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if version.total is not None and version.total - start > free:
            needed = (version.total - start) / 1e9
            raise OutputError(f"{self.path}: {needed:.2f} GB are needed, {free / 1e9:.2f} GB are free")
