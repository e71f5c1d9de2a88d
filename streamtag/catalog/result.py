"""What is known of one file: whether it can be heard, and the mean of each tag over all its frames."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.catalog.files import AudioFile
from streamtag.errors import OutputError


@dataclass(frozen=True, slots=True)
class FileResult:
    """place, size, mtime_ns: of the file as it was found; model: fingerprint of what heard it.

    seconds and frames: as far as it was heard; means [tags] float32, None without a frame. warnings: what was damaged
    and passed over; error: why it was not heard, or not to its end. frames_at: where the journal keeps its frames.
    """

    place: str
    size: int
    mtime_ns: int
    model: str
    seconds: float = 0.0
    frames: int = 0
    means: NDArray[np.float32] | None = None
    warnings: str = ""
    error: str | None = None
    frames_at: int | None = None

    @classmethod
    def of(cls, sound: AudioFile, model: str) -> FileResult:
        """Of a file that nothing is known of yet."""
        return cls(sound.place, sound.size, sound.mtime_ns, model)

    def stands_for(self, sound: AudioFile, model: str) -> bool:
        """Whether the file is still the one that was heard, by this model."""
        return (self.size, self.mtime_ns, self.model) == (sound.size, sound.mtime_ns, model)

    def of_twin(self, sound: AudioFile) -> FileResult:
        """Another name of the same file."""
        return replace(self, place=sound.place)

    def to_json(self) -> str:
        """One line of ASCII, so that names in no encoding come back as they were."""
        means = None if self.means is None else [float(f"{mean:.9g}") for mean in self.means.tolist()]  # exact
        return json.dumps(
            {
                "place": self.place,
                "size": self.size,
                "mtime_ns": self.mtime_ns,
                "model": self.model,
                "seconds": self.seconds,
                "frames": self.frames,
                "means": means,
                "warnings": self.warnings,
                "error": self.error,
                "frames_at": self.frames_at,
            },
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def of_json(cls, text: str | bytes) -> FileResult:
        """Raises OutputError for anything but a whole entry."""
        try:
            fields: dict[str, Any] = json.loads(text)
            means = fields.pop("means")
            entry = cls(**fields, means=None if means is None else np.array(means, np.float32))
            right = all(isinstance(getattr(entry, name), kind) for name, kind in _KINDS.items())
            right = right and (entry.means is None or (entry.means.ndim == 1 and bool(np.isfinite(entry.means).all())))
        except (ValueError, TypeError, KeyError, AttributeError):
            right = False
        if not right:
            raise OutputError("a damaged entry")
        return entry


_KINDS: dict[str, Any] = {
    "place": str,
    "size": int,
    "mtime_ns": int,
    "model": str,
    "seconds": float,
    "frames": int,
    "warnings": str,
    "error": str | None,
    "frames_at": int | None,
}
