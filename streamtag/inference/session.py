"""One continuous stream of audio, and the network's state that is carried along it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.resample import as_mono_float32
from streamtag.inference.frame import StreamPosition, TagFrame
from streamtag.model.batched import keep_freed_memory
from streamtag.model.device_errors import report_device_errors

if TYPE_CHECKING:
    from streamtag.model import TaggerNetwork
    from streamtag.spec import ConceptSpec

MAX_STEP_S = 16.0  # audio that goes through the network at once, which bounds the memory


class HasNetwork(Protocol):
    """What a session needs of a tagger."""

    @property
    def network(self) -> TaggerNetwork: ...


class Session:
    """One continuous stream: audio in, frames out. Each frame follows its centre by the look-ahead (0.384 s).

    The input is mono at the model's sample rate (16 kHz), in chunks of any length; chunk sizes change no result.
    Used by one thread.
    """

    def __init__(self, tagger: HasNetwork, start_s: float = 0.0) -> None:
        """start_s: the time of the first sample, in seconds: that of an excerpt in its file."""
        self.start_s = start_s
        self._network = tagger.network
        self._spec = self._network.spec
        self._device = next((p.device for p in self._network.parameters()), torch.device("cpu"))
        self._max_step = int(MAX_STEP_S * self._spec.sample_rate)
        if self._device.type == "cpu":
            keep_freed_memory()
        self.reset()

    def reset(self) -> None:
        """Begin a new stream; everything of the old one is dropped."""
        self._position = StreamPosition(self._spec, start_s=self.start_s)
        self._state: Any = None  # allocated by the first step, so that a reset costs nothing

    @property
    def tags(self) -> tuple[str, ...]:
        """The model's tags, in the order of a frame's `probs`."""
        return self._network.tags

    @property
    def concepts(self) -> tuple[ConceptSpec, ...]:
        """The model's concepts, in the order of a frame's `concept_probs`."""
        return self._network.concepts

    @property
    def seconds(self) -> float:
        """Length of the stream so far in seconds, gaps included."""
        return self._position.seconds

    def feed(self, samples: ArrayLike) -> list[TagFrame]:
        """Append samples [n], n >= 0, and return the frames that are complete. Samples that are not finite count as 0.

        Raises ValueError if samples is not a one-dimensional array of floats, or the stream was flushed, DeviceError
        if a GPU fails.
        """
        self._position.check_open()
        audio = as_mono_float32(samples)
        self._position.samples += len(audio)
        return self._step(audio)

    def insert_gap(self, samples: int) -> list[TagFrame]:
        """Append a gap of lost audio, samples > 0, and return the frames that are complete.

        The gap counts as silence. Frames whose centres lie in it are left out, so frame numbers jump.
        Raises ValueError if samples is not positive, or the stream was flushed.
        """
        silence, skipped_hops = self._position.insert_gap(samples)
        frames = self._step(np.zeros(silence, np.float32)) + self._await_pending()
        self._position.frames += skipped_hops
        return frames

    def reset_context(self) -> None:
        """Reset the network's recurrent state, as for a new song; time and frame numbers continue."""
        if self._state is not None:
            self._state = self._network.reset_context(self._state)

    def flush(self) -> list[TagFrame]:
        """End the stream and return the remaining frames: those with centres inside it."""
        was_open, self._position.has_ended = not self._position.has_ended, True
        return self._end() if was_open and self._state is not None else []

    def _step(self, audio: NDArray[np.float32]) -> list[TagFrame]:
        """Return the next frames that are complete after so much more audio [n]."""
        frames: list[TagFrame] = []
        with torch.inference_mode(), report_device_errors():
            for batch in self._batches(audio):
                if self._state is None:
                    self._state = self._network.initial_state(1)
                probs, self._state = self._network.step(batch, self._state)
                frames += self._number(probs)
        return frames

    def _end(self) -> list[TagFrame]:
        """Return the frames that need no more audio."""
        with torch.inference_mode(), report_device_errors():
            probs, self._state = self._network.flush(self._state)
            return self._number(probs)

    def _await_pending(self) -> list[TagFrame]:
        """Return the frames that another thread still computes; here there is none."""
        return []

    def _batches(self, audio: NDArray[np.float32]) -> Iterator[torch.Tensor]:
        """Yield the audio [n] as tensors [1, m] on the device, m at most `_max_step`."""
        for start in range(0, len(audio), self._max_step):
            yield torch.from_numpy(audio[np.newaxis, start : start + self._max_step]).to(self._device)

    def _number(self, probs: torch.Tensor) -> list[TagFrame]:
        """Return the frames of the stream's next probabilities [1, f, tags]."""
        rows = probs[0].float().cpu().numpy()
        frames = map(self._position.next_frame, rows, self._network.concept_map(rows))
        return [frame for frame in frames if frame is not None]
