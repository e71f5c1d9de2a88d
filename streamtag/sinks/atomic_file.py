"""Result files that are either complete or absent: written under a temporary name, then moved."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from streamtag.errors import OutputError, SpecError
from streamtag.text import describe_os_error


class AtomicFile:
    """A file under a temporary name until `commit` moves it into its place.

    Opening it verifies that it can be written: open it before the work, not after. Devices and named pipes are
    written directly. As a context manager it commits, or discards after an exception.
    """

    def __init__(self, path: Path) -> None:
        """Open UTF-8 text with line feeds; bytes go to `file.buffer`. Raises OutputError."""
        self.path = path
        check_target(path)
        target = path.resolve()
        self._target = target
        is_special = target.exists() and not target.is_file()
        self._part = target if is_special else target.with_name(f".streamtag-{secrets.token_hex(6)}.part")
        try:
            part = self._part.open("w" if is_special else "x", encoding="utf-8", newline="\n")
        except OSError as error:
            raise cannot_write(path, error) from None
        self.file: TextIO = part

    def commit(self) -> None:
        """Move the file into its place. Raises OutputError, after removing the temporary file."""
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
        """Remove the temporary file; a previous file stays. Does nothing after `commit`."""
        with suppress(OSError):  # a full disk
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
    """Raise OutputError if a file at `path` cannot be written, as far as that is known beforehand."""
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
    """Raise OutputError if a target cannot be written, and SpecError if it is an input or named twice."""
    sources = {_identity(Path(name)) for name in inputs if "://" not in name}
    seen: set[tuple[int, int] | Path] = set()
    for target in targets:
        check_target(target)
        resolved = target.resolve()
        identity = _identity(resolved)
        if resolved.exists() and not resolved.is_file():  # a device or pipe
            continue
        if identity in sources:
            raise SpecError(f"{target}: is one of the inputs; results are not written over it")
        if identity in seen:
            raise SpecError(f"{target}: named for two results; each needs a file of its own")
        seen.add(identity)


def check_suffix(path: Path, suffixes: Iterable[str], purpose: str) -> None:
    """Raise SpecError unless the name ends in one of the suffixes, in any case. purpose: such as `draw`."""
    if path.suffix.lower() not in suffixes:
        raise SpecError(f"{path}: cannot {purpose}: the name must end in one of {', '.join(suffixes)}")


def _identity(path: Path) -> tuple[int, int] | Path:
    """Return the same value for all names of a file, hard links included; the full path if it does not exist."""
    path = path.resolve()
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def cannot_write(path: Path, error: Exception) -> OutputError:
    """Return an error with the system's reason in one line."""
    return OutputError(f"{path}: cannot write: {describe_os_error(error)}")
