"""The result of one file: the mean of each tag and concept over all its frames, or why it could not be tagged."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from streamtag.catalog.files import AudioFile
from streamtag.errors import OutputError

FINGERPRINT_DIGITS = 16  # of the model's fingerprint: enough to distinguish models in a table


@dataclass(frozen=True, slots=True)
class FileResult:
    """abspath, size, mtime_ns: of the file as it was found; path: as the user wrote it then. model: the first digits of
    the model's fingerprint.

    seconds and frames: up to where it was decoded. means [tags], concept_means [concepts] and present_s [concepts], for
    how many seconds each concept was on: float32, None without a frame. warnings: damage that was skipped. error: why
    it could not be tagged, or not to its end. frames_offset: where the journal keeps its frames.
    """

    abspath: str
    path: str
    size: int
    mtime_ns: int
    model: str
    seconds: float = 0.0
    frames: int = 0
    means: NDArray[np.float32] | None = None
    concept_means: NDArray[np.float32] | None = None
    present_s: NDArray[np.float32] | None = None
    warnings: str = ""
    error: str | None = None
    frames_offset: int | None = None

    @classmethod
    def of(cls, file: AudioFile, model: str) -> FileResult:
        """Return the empty result of a file that has not been tagged."""
        return cls(file.abspath, file.path, file.size, file.mtime_ns, model)

    def is_valid_for(self, file: AudioFile, model: str) -> bool:
        """Return whether the file is unchanged and the model the same."""
        return (self.size, self.mtime_ns, self.model) == (file.size, file.mtime_ns, model)

    def named(self, file: AudioFile) -> FileResult:
        """Return the result under another name of the same file."""
        return replace(self, abspath=file.abspath, path=file.path)

    def to_json(self) -> str:
        """Return one line of ASCII, so that names in no encoding survive."""
        values = {_JSON_KEYS.get(name, name): getattr(self, name) for name in _NAMES}
        for name in _ARRAYS:
            if values[name] is not None:  # 9 digits are exact for float32
                values[name] = [float(f"{value:.9g}") for value in values[name].tolist()]
        return json.dumps(values, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> FileResult:
        """Parse a line of `to_json`. Raises OutputError for anything but a whole result."""
        try:
            values: dict[str, Any] = json.loads(text)
            result = cls(**{name: values.pop(_JSON_KEYS.get(name, name)) for name in _NAMES})
            found = {name: getattr(result, name) for name in _ARRAYS}
            arrays: dict[str, Any] = {
                name: np.array(each, np.float32) for name, each in found.items() if each is not None
            }
            result = replace(result, **arrays)
            valid = not values and all(isinstance(getattr(result, name), kind) for name, kind in _TYPES.items())
            valid = valid and all(array.ndim == 1 and bool(np.isfinite(array).all()) for array in arrays.values())
        except (ValueError, TypeError, KeyError, AttributeError):
            valid = False
        if not valid:
            raise OutputError("a damaged entry")
        return result


_NAMES = tuple(field.name for field in fields(FileResult))
_JSON_KEYS = {"abspath": "place", "frames_offset": "frames_at"}  # the journal's names
_ARRAYS = ("means", "concept_means", "present_s")
_TYPES = {name: kind for name, kind in get_type_hints(FileResult).items() if name not in _ARRAYS}
