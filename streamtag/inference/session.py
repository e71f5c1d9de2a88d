"""One endless stream of sound and the state that the network carries along it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.resample import as_mono_float32
from streamtag.inference.frame import TagFrame
from streamtag.inference.hop_buffer import RECEPTIVE_FIELD_HOPS

if TYPE_CHECKING:
    from streamtag.model import TaggerNetwork as Network

__all__ = ["HasNetwork", "Session", "TagFrame"]

SLICE_S = 16.0  # s; most that goes through the network at once, so that memory stays bounded


class HasNetwork(Protocol):
    """What a session needs of a tagger."""

    @property
    def network(self) -> Network: ...


class Session:
    """Feed it sound as it comes; frames come out, each 0.384 s after its centre. Owned by one thread.

    Input is float32 mono at 16 kHz, in chunks of any length: how they are cut does not matter.
    """

    def __init__(self, tagger: HasNetwork) -> None:
        self._network = tagger.network
        self._spec = self._network.spec
        self._device = next((p.device for p in self._network.parameters()), torch.device("cpu"))
        self._slice = int(SLICE_S * self._spec.sample_rate)
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next sample is the first of a new stream."""
        self._samples = 0
        self._frames = 0
        self._ended = False
        self._lost: list[tuple[int, int]] = []  # first sample and end of what is missing, until its frames have passed
        self._state: Any = None  # made by the first feed, so that a reset costs nothing

    @property
    def seconds(self) -> float:
        """Sound fed so far, s."""
        return self._samples / self._spec.sample_rate

    def feed(self, samples: ArrayLike) -> list[TagFrame]:
        """samples [n], any n >= 0 -> the frames that are ready now. Samples that are not finite count as 0.

        Raises ValueError if samples is not one-dimensional, or the stream was flushed and not reset.
        """
        self._check_open()
        return self._fed(as_mono_float32(samples))

    def insert_gap(self, samples: int) -> list[TagFrame]:
        """Sound of this length, samples > 0, never came: it counts as silence, and the clock goes on.

        -> the frames that are ready now. No frame is given whose centre lies in what was lost, so their numbers
        jump; those beside it hear the silence. A long loss costs no more than a short one.
        """
        self._check_open()
        if samples <= 0:
            raise ValueError(f"a loss must have more than {samples} samples")
        self._lost.append((self._samples, self._samples + samples))
        hop = self._spec.hop
        skipped = max(0, samples // hop - RECEPTIVE_FIELD_HOPS)
        frames = self._fed(np.zeros(samples - skipped * hop, np.float32))
        self._samples += skipped * hop
        self._frames += skipped
        return frames

    def reset_context(self) -> None:
        """The network forgets what it heard, as for a new song; the clock and the frames go on."""
        if self._state is not None:
            self._state = self._network.reset_context(self._state)

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("flush() ended this stream: call reset() to begin another")

    def _fed(self, audio: NDArray[np.float32]) -> list[TagFrame]:
        frames: list[TagFrame] = []
        for start in range(0, len(audio), self._slice):
            frames += self._step(audio[start : start + self._slice])
        return frames

    @torch.inference_mode()
    def flush(self) -> list[TagFrame]:
        """Ends the stream: -> the frames whose centres lie inside it and that still waited for sound."""
        if self._ended or self._state is None:
            self._ended = True
            return []
        self._ended = True
        probs, self._state = self._network.flush(self._state)
        return self._numbered(probs)

    @torch.inference_mode()
    def _step(self, audio: NDArray[np.float32]) -> list[TagFrame]:
        if self._state is None:
            self._state = self._network.initial_state(1)
        batch = torch.from_numpy(audio[np.newaxis]).to(self._device)
        probs, self._state = self._network.step(batch, self._state)
        self._samples += len(audio)
        return self._numbered(probs)

    def _numbered(self, probs: torch.Tensor) -> list[TagFrame]:
        rows = probs[0].float().cpu().numpy()
        first, hop = self._frames, self._spec.hop
        self._frames += len(rows)
        frames = [
            TagFrame.at(index, self._spec, row)
            for index, row in enumerate(rows, first)
            if not any(start <= index * hop < end for start, end in self._lost)
        ]
        self._lost = [(start, end) for start, end in self._lost if end > self._frames * hop]
        return frames
