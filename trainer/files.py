"""Files written completely or not at all, JSON read with checks, settings compared by name, and folders locked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streamtag.errors import ManifestError, OutputError, StreamtagError
from streamtag.text import describe_os_error


@contextmanager
def report_write_errors(path: Path, advice: str = "") -> Iterator[None]:
    """Turn an OSError inside the block into an OutputError that names `path` and ends with `advice`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {describe_os_error(error)}{advice}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, which replaces it if the block succeeds and is removed if it fails."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file completely or not at all. Raises OSError."""
    with replacing(path) as part:
        part.write_bytes(content)


def check_free_space(path: Path, folder: Path, size: float, qualifier: str = "") -> None:
    """Raise OutputError, which names `path`, if `size` bytes do not fit onto the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(f"{path}: {qualifier}{size / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free")


def write_json(path: Path, value: Any) -> None:
    """Write an object as JSON, and make its folder. Raises OutputError."""
    write_lines(path, [json.dumps(value, indent=1)])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text, and make their folder. Raises OutputError."""
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def read_json(path: Path, raised: type[StreamtagError]) -> dict[str, Any]:
    """Return a JSON object. Raises `raised` if the file is missing, damaged or holds something else."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise raised(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise raised(f"{path}: not a JSON object")
    return found


def keep_settings(file: Path, settings: dict[str, Any]) -> None:
    """Write what a folder's contents are made with, or compare. Raises ManifestError if they were made with another."""
    if not file.exists():
        write_json(file, settings)
    elif difference := first_difference(read_json(file, ManifestError), settings):
        raise ManifestError(f"{file.parent}: made with {difference}: remove it or name another folder")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder. Raises OutputError if one is writing already."""
    from filelock import FileLock, Timeout  # late: reading needs no lock

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise OutputError(f"{folder}: another process is writing to it") from error


def first_difference(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Return the first setting that differs, as "name = old, not new" (nested ones with dotted names), or None."""
    return next(_differences(found, expected, ""), None)


def _differences(found: dict[str, Any], expected: dict[str, Any], prefix: str) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        old, new = found.get(name), expected.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} = {old}, not {new}"
