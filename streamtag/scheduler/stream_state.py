"""The state of a stream as bytes, with which another server can continue it: one self-describing safetensors file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.inference.batch import SessionState
from streamtag.inference.events import EventDetectorState
from streamtag.inference.hop_buffer import HopBufferState
from streamtag.scheduler.ingest_resampler import MAX_SAMPLES, IngestResamplerState
from streamtag.spec import FrontEndSpec

FORMAT = "streamtag-stream-3"
MAX_STATE_BYTES = 1 << 20  # a state has 40 to 700 KiB, and 150 more at the highest rates
MAX_HEADER_BYTES = 1 << 16
EVENT_ARRAYS = ("smooth", "since", "on", "present", "sums")
COUNTS = {"began": "start", "came": "received", "gone": "emitted", "first": "first"}  # in the file: of the resampler
SESSION_PREFIX, EVENT_PREFIX = "session.", "row."


@dataclass(frozen=True)
class StreamState:
    """session: what the network remembers. resampler, events: the states of these.

    position: the producer's count of the sample that comes next.
    """

    session: SessionState
    resampler: IngestResamplerState
    events: EventDetectorState
    position: int

    def to_bytes(self, model: str) -> bytes:
        """Return the file's bytes. model: the fingerprint of the model that made it."""
        resampler, events, format = self.resampler, self.events, self.resampler.format
        tensors: dict[str, NDArray[Any]] = {SESSION_PREFIX + name: a for name, a in self.session.arrays.items()}
        tensors |= {EVENT_PREFIX + name: getattr(events, name) for name in EVENT_ARRAYS}
        tensors |= {"pending": self.session.buffer.pending, "recent": resampler.recent}
        numbers = {
            "model": model,
            "position": self.position,
            "track": self.session.buffer.to_json(),
            "pcm": {"rate": format.rate, "sample": format.encoding, "channels": format.channels},
            "intake": {key: getattr(resampler, name) for key, name in COUNTS.items()},
            "row": {"time": events.time, "frames": events.frames},
        }
        contiguous = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        return save(contiguous, {"format": FORMAT, "stream": json.dumps(numbers, allow_nan=False)})

    @classmethod
    def from_bytes(cls, data: bytes, model: str, spec: FrontEndSpec) -> Self:
        """Return the state that to_bytes wrote. model, spec: of the model that will continue it.

        Raises SpecError if the bytes are not a stream of this model and version. Nothing larger than they are is
        allocated for them.
        """
        if len(data) > MAX_STATE_BYTES:
            raise SpecError(f"a stream's state of {len(data)} bytes: it can have {MAX_STATE_BYTES} at most")
        numbers = _parse_header(data)
        if numbers.get("model") != model:
            raise SpecError("a stream's state is another model's: both servers must run the same")
        try:
            tensors = load(data)
            arrays = {
                name.removeprefix(SESSION_PREFIX): array
                for name, array in tensors.items()
                if name.startswith(SESSION_PREFIX)
            }
            hops = HopBufferState.from_json(numbers["track"], _check_samples(tensors["pending"]))
            pcm, counts = numbers["pcm"], {name: numbers["intake"][key] for key, name in COUNTS.items()}
            format = PcmFormat(pcm["rate"], pcm["sample"], pcm["channels"])
            resampler = IngestResamplerState(format, recent=_check_samples(tensors["recent"]), **counts)
            event_arrays: dict[str, Any] = {name: tensors[EVENT_PREFIX + name] for name in EVENT_ARRAYS}
            events = EventDetectorState(**event_arrays, **numbers["row"])
            state = cls(SessionState(hops, arrays), resampler, events, numbers["position"])
            state._check(spec.hop)
        except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise error if isinstance(error, SpecError) else SpecError("a stream's state is damaged") from error
        return state

    def _check(self, hop: int) -> None:
        """Raise SpecError if the parts cannot belong to one stream."""
        hops, resampler, events = self.session.buffer, self.resampler, self.events
        counts = (self.position, events.frames, *(getattr(resampler, name) for name in COUNTS.values()))
        if not all(type(count) is int and 0 <= count <= MAX_SAMPLES for count in counts):
            raise SpecError("a stream's state is damaged: its counts")
        is_one_stream = (
            type(events.time) is float
            and hops.samples == resampler.emitted
            and len(hops.pending) == (hops.samples + hop // 2) % hop
            and hops.frames * hop <= hops.samples
        )
        if not is_one_stream:
            raise SpecError("a stream's state is damaged: its parts are not of one stream")


def _parse_header(data: bytes) -> dict[str, Any]:
    """Return the numbers in the file's header."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise SpecError("a stream's state is damaged: it is no safetensors file, or cut off")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        numbers = json.loads(metadata["stream"]) if metadata["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SpecError("a stream's state is damaged: its description") from None
    if not isinstance(numbers, dict):
        raise SpecError("a stream's state of another version, or none")
    return numbers


def _check_samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return the array, or raise SpecError if it is not audio."""
    if array.ndim != 1 or array.dtype != np.float32 or not np.isfinite(array).all():
        raise SpecError("a stream's state is damaged: its audio")
    return array
