"""The result of one file: the mean of each tag and concept over all its frames, or why it could not be tagged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamtag.catalog.files import AudioFile

FINGERPRINT_DIGITS = 16  # of the model's fingerprint: enough to distinguish models in a table


@dataclass(frozen=True, slots=True)
class FileResult:
    """abspath, size, mtime_ns: of the file as it was found; path: as the user wrote it then. model: the first digits of
    the model's fingerprint.

    seconds and frames: up to where it was decoded. means [tags], concept_means [concepts] and present_s [concepts], for
    how many seconds each concept was on: float32, None without a frame. warnings: damage that was skipped. error: why
    it could not be tagged, or not to its end. frames_id: of its frames in the journal.
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
    frames_id: int | None = None

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
        values = asdict(self)
        for name in _ARRAYS:
            if values[name] is not None:  # 9 digits are exact for float32
                values[name] = [float(f"{value:.9g}") for value in values[name].tolist()]
        return json.dumps(values, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> FileResult:
        """Return the result of which `to_json` made this line."""
        values = json.loads(text)
        arrays = {name: np.array(values[name], np.float32) for name in _ARRAYS if values[name] is not None}
        return cls(**values | arrays)


_ARRAYS = ("means", "concept_means", "present_s")
