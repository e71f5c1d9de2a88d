"""All of a stream as bytes, for another server to go on with: one safetensors file that describes itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from streamtag.errors import SpecError
from streamtag.inference.batch import SessionState
from streamtag.inference.events import EventDetectorState
from streamtag.inference.hop_buffer import HopBufferState
from streamtag.scheduler.ingest_resampler import MOST, IntakeState
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.spec import ScatteringSpec

FORMAT = "streamtag-stream-1"
MOST_BYTES = 1 << 20  # of a state; one has about 100 KiB, or 250 at the highest rates
MOST_HEADER = 1 << 16  # bytes of its description
ROW = ("smooth", "since", "on", "sums")
SESSION = "session."


@dataclass(frozen=True)
class StreamState:
    """session: what the network remembers; intake: what the resampler does; row: what is on, and the summary.

    position: the producer's own count of the sample that comes next.
    """

    session: SessionState
    intake: IntakeState
    row: EventDetectorState
    position: int

    def to_bytes(self, model: str) -> bytes:
        """model: the fingerprint of whose state it is."""
        intake, row = self.intake, self.row
        tensors: dict[str, NDArray[Any]] = {SESSION + name: array for name, array in self.session.arrays.items()}
        tensors |= {"row." + name: getattr(row, name) for name in ROW}
        tensors |= {"pending": self.session.buffer.pending, "recent": intake.recent}
        numbers = {
            "model": model,
            "position": self.position,
            "track": self.session.buffer.to_json(),
            "pcm": {"rate": intake.format.rate, "sample": intake.format.encoding, "channels": intake.format.channels},
            "intake": {name: getattr(intake, name) for name in ("began", "came", "gone", "first")},
            "row": {"time": row.time, "frames": row.frames},
        }
        contiguous = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        return save(contiguous, {"format": FORMAT, "stream": json.dumps(numbers, allow_nan=False)})

    @classmethod
    def of(cls, data: bytes, model: str) -> Self:
        """The opposite. Raises SpecError for bytes that are no stream of this model and this version; nothing larger
        than they are is allocated for them."""
        if len(data) > MOST_BYTES:
            raise SpecError(f"a stream's state of {len(data)} bytes: it can have {MOST_BYTES} at most")
        numbers = _numbers(data)
        if numbers.get("model") != model:
            raise SpecError("a stream's state is another model's: both servers must run the same")
        try:
            tensors = load(data)
            arrays = {name.removeprefix(SESSION): a for name, a in tensors.items() if name.startswith(SESSION)}
            track = HopBufferState.from_json(numbers["track"], _samples(tensors["pending"]))
            pcm = numbers["pcm"]
            format = PcmFormat(pcm["rate"], pcm["sample"], pcm["channels"])
            intake = IntakeState(format, recent=_samples(tensors["recent"]), **numbers["intake"])
            on: dict[str, Any] = {name: tensors["row." + name] for name in ROW}
            row = EventDetectorState(**on, **numbers["row"])
            state = cls(SessionState(track, arrays), intake, row, numbers["position"])
            state._check()
        except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise error if isinstance(error, SpecError) else SpecError("a stream's state is damaged") from error
        return state

    def _check(self) -> None:
        """Raises SpecError if its parts are no numbers, or cannot be of one stream."""
        track, intake, row, hop = self.session.buffer, self.intake, self.row, ScatteringSpec().hop
        counts = (self.position, intake.began, intake.came, intake.gone, intake.first, row.frames)
        if not all(type(count) is int and 0 <= count <= MOST for count in counts) or type(row.time) is not float:
            raise SpecError("a stream's state is damaged: its counts")
        together = track.samples == intake.gone and len(track.pending) == (track.samples + hop // 2) % hop
        if not together or track.frames * hop > track.samples:
            raise SpecError("a stream's state is damaged: its parts are not of one stream")


def _numbers(data: bytes) -> dict[str, Any]:
    """The description in the header."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(MOST_HEADER, len(data) - 8):
        raise SpecError("a stream's state is damaged: it is no safetensors file, or cut off")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        numbers = json.loads(metadata["stream"]) if metadata["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SpecError("a stream's state is damaged: its description") from None
    if not isinstance(numbers, dict):
        raise SpecError("a stream's state of another version, or none")
    return numbers


def _samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Raises SpecError if it is no sound."""
    if array.ndim != 1 or array.dtype != np.float32 or not np.isfinite(array).all():
        raise SpecError("a stream's state is damaged: its sound")
    return array
