"""Result files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from streamtag.errors import OutputError
from streamtag.text import describe_os_error


class AtomicFile:
    """A file under a temporary name until `commit` moves it to its place.

    Opening it is the check that it can be written: make it before the work, not after. What is no plain
    file (a device, a named pipe) is written to directly. As a context manager it commits, or discards on an
    exception.
    """

    def __init__(self, path: Path) -> None:
        """Opens UTF-8 text with line feeds; bytes go to `file.buffer`. Raises OutputError."""
        self.path = path
        check_target(path)
        target = path.resolve()
        self._target = target
        direct = target.exists() and not target.is_file()
        self._part = target if direct else target.with_name(f".streamtag-{secrets.token_hex(6)}.part")
        try:
            part = self._part.open("w" if direct else "x", encoding="utf-8", newline="\n")
        except OSError as error:
            raise cannot_write(path, error) from None
        self.file: TextIO = part

    def commit(self) -> None:
        """Moves the file to its place. Raises OutputError, and leaves nothing behind then."""
        try:
            self.file.close()
            if self._part != self._target:
                if self._target.exists():
                    shutil.copymode(self._target, self._part)
                self._part.replace(self._target)
        except OSError as error:
            self.discard()
            raise cannot_write(self.path, error) from None

    def discard(self) -> None:
        """Leaves what was there before. Does nothing after `commit`."""
        with contextlib.suppress(OSError):  # a full disk: there is nothing to keep
            self.file.close()
        if self._part != self._target:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
            return
        self.discard()
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise cannot_write(self.path, error) from None


def check_target(path: Path) -> None:
    """Raises OutputError unless a file at `path` can be written, as far as one can tell before."""
    try:
        if path.is_dir():
            raise OutputError(f"{path}: cannot write: is a folder")
        folder = path.resolve().parent
        if not folder.is_dir():
            raise OutputError(f"{path}: cannot write: there is no folder {folder}")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise OutputError(f"{path}: cannot write: permission denied")
    except OSError as error:
        raise cannot_write(path, error) from None


def check_targets(targets: Iterable[Path], inputs: Sequence[str]) -> None:
    """Raises OutputError if a target cannot be written, is an input, or is named twice."""
    sources = {_identity(Path(name)) for name in inputs if "://" not in name}
    seen: set[tuple[int, int] | Path] = set()
    for target in targets:
        check_target(target)
        identity = _identity(target)
        place = target.resolve()
        plain = place.is_file() or not place.exists()
        if plain and identity in sources:
            raise OutputError(f"{target}: is one of the inputs; results are not written over it")
        if plain and identity in seen:
            raise OutputError(f"{target}: named for two results; each needs a file of its own")
        seen.add(identity)


def _identity(path: Path) -> tuple[int, int] | Path:
    """The same for all names of a file, hard links too; of a file that is not there, its full path."""
    place = path.resolve()
    try:
        status = place.stat()
    except OSError:
        return place
    return status.st_dev, status.st_ino


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The system's reason in one line."""
    return OutputError(f"{path}: cannot write: {describe_os_error(error)}")
