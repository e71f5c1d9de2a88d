"""What all front ends have in common: features of an endless signal, computed hop by hop.

Hops end half a hop after a multiple of the hop, since the look-ahead is one and a half hops. The signal is silent
before its first and after its last sample.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from torch import Tensor, nn

from streamtag.spec import FrontEndSpec


@dataclass(frozen=True, kw_only=True)
class FrontEndState:
    """The state of streams, which are axis 0 of every tensor.

    recent [N, tail + p]: the p samples that do not fill a hop yet, and the samples before them. index [N]: the output
    that the next hop completes; -1 while the look-ahead fills for the first time. warm: a hop was computed since the
    start of the batch (the same for all streams).
    """

    recent: Tensor
    index: Tensor
    warm: bool = False


State = TypeVar("State", bound=FrontEndState)


class FrontEnd(nn.Module, Generic[State]):
    """audio [N, T] -> features [N, F, path_count], `spec.frames_per_hop` frames with each hop. A StreamingModule."""

    spec: FrontEndSpec
    path_count: int
    tail: int  # samples before a hop that are needed for it

    @property
    def latency_s(self) -> float:
        """Algorithmic latency in seconds, from a frame's centre to the last sample that it waits for."""
        return self.spec.lookahead_s

    @property
    def start(self) -> int:
        """Return the samples of silence that `recent` begins with."""
        return self.spec.hop // 2 + self.tail

    @abstractmethod
    def initial_state(self, streams: int) -> State:
        """Return the state of `streams` streams before their first sample: silence."""

    @abstractmethod
    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the frames [N, f, path_count] that are complete after audio [N, n], n >= 0, and the new state.

        A stream whose index was -1 in a batch that is already warm (it was reset) first returns frames below 0, which
        belong to the time before its start and must be ignored.
        """

    def state_between_hops(self, streams: int) -> State:
        """Return the initial state at a hop's end, where every stream's state has the same shape.

        The caller has to feed the half hop of silence before it.
        """
        state = self.initial_state(streams)
        return replace(state, recent=state.recent[:, -self.tail :].clone(), warm=True)

    def flush(self, state: State) -> tuple[Tensor, State]:
        """Return the remaining frames of streams that end here [N, f, path_count], and the initial state."""
        streams, recent = state.recent.shape
        has_started = state.warm or recent > self.start
        hops = 2 if recent > self.start else 1
        missing = hops * self.spec.hop - (recent - self.tail) if has_started else 0
        frames, _ = self.step(state.recent.new_zeros(streams, missing), state)
        return frames, self.initial_state(streams)

    @abstractmethod
    def forward(self, audio: Tensor) -> Tensor: ...


def last_of_hops(frames: Tensor, spec: FrontEndSpec) -> Tensor:
    """Return the last frame of each hop [N, outputs, ...] of frames [N, F, ...], which `spec.outputs_of` describes."""
    count, per_hop = frames.shape[1], spec.frames_per_hop
    return frames[:, count - 1 - (spec.outputs_of(count) - 1) * per_hop :: per_hop]


def first_frames(index: Tensor, frames: int, spec: FrontEndSpec) -> Tensor:
    """Return the number of the first of `frames` frames, at least one, that each warm stream [N] computes next.

    index [N]: as in FrontEndState.
    """
    skipped = -frames % spec.frames_per_hop
    return index * spec.frames_per_hop + (spec.first_frame + skipped)
