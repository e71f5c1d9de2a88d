"""The whole network as one streaming module: audio in, probabilities of the tags out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model.concepts import ConceptMap, default_concepts
from streamtag.model.convolutional import StackedConvolutions
from streamtag.model.front_end import FrontEnd, FrontEndState, first_frames, last_of_hops
from streamtag.model.lstm import StackedBNLSTM, StackedLSTM
from streamtag.model.normalization import Normalizer
from streamtag.model.recurrent import FrameNetwork, StackedGRU
from streamtag.model.scattering import Scattering
from streamtag.model.spectrogram import LogCqt, LogMel
from streamtag.model.streaming import where
from streamtag.model.windowed import TransposedStack
from streamtag.spec import (
    Cell,
    ConceptSpec,
    ConvolutionalSpec,
    CqtSpec,
    FrontEndSpec,
    MelSpec,
    NetworkSpec,
    ScatteringSpec,
    StackSpec,
    TransposedSpec,
    WindowedSpec,
)

STACKS: dict[Cell, type[FrameNetwork[Any]]] = {"GRU": StackedGRU, "LSTM": StackedLSTM, "BN-LSTM": StackedBNLSTM}


def make_front_end(spec: FrontEndSpec) -> FrontEnd[Any]:
    """Return the front end that has these settings."""
    if isinstance(spec, MelSpec):
        return LogMel(spec)
    if isinstance(spec, CqtSpec):
        return LogCqt(spec)
    assert isinstance(spec, ScatteringSpec)
    return Scattering(spec)


def make_network(spec: StackSpec) -> FrameNetwork[Any]:
    """Return the network that has these settings, with random weights."""
    if isinstance(spec, ConvolutionalSpec):
        return StackedConvolutions(spec)
    if isinstance(spec, TransposedSpec):
        return TransposedStack(spec)
    assert isinstance(spec, NetworkSpec)
    return STACKS[spec.cell](spec)


@dataclass(frozen=True)
class TaggerState:
    """Hold the front end's state and the recurrent layers'; both stay on the network's device."""

    front_end: FrontEndState
    hidden: Any


class TaggerNetwork(nn.Module):
    """audio [N, T] at 16 kHz -> probabilities [N, F, tags], one frame per hop.

    `thresholds` are the probabilities from which each tag counts as present; `card` states the origin of the weights.
    `concepts` group tags that mean the same, and `concept_map` gives their probabilities.
    Raises SpecError if the parts do not fit each other.
    """

    def __init__(
        self,
        front_end: FrontEnd[Any],
        normalization: Normalizer,
        recurrent: FrameNetwork[Any],
        head: nn.Linear,
        tags: Sequence[str],
        thresholds: Sequence[float],
        card: dict[str, Any],
        concepts: Sequence[ConceptSpec] | None = None,
    ) -> None:
        """concepts: None: each tag is a concept of its own."""
        super().__init__()
        if not recurrent.spec.inputs == normalization.size == front_end.path_count:
            raise SpecError(f"network: {recurrent.spec.inputs} inputs for {front_end.path_count} features of a frame")
        if not len(tags) == len(thresholds) == head.out_features or len(set(tags)) != len(tags):
            raise SpecError("network: tags, thresholds and outputs differ in number, or a tag occurs twice")
        if isinstance(recurrent.spec, WindowedSpec):
            _check_hops(recurrent.spec, front_end.spec)
        self.front_end, self.normalization, self.recurrent, self.head = front_end, normalization, recurrent, head
        self.tags, self.thresholds, self.card = tuple(tags), tuple(thresholds), card
        self.concept_map = ConceptMap(self.tags, default_concepts(tags, thresholds) if concepts is None else concepts)
        self.group = self.spec.frames_at_once
        self.eval().requires_grad_(False)

    @property
    def concepts(self) -> tuple[ConceptSpec, ...]:
        return self.concept_map.concepts

    @property
    def spec(self) -> FrontEndSpec:
        return self.front_end.spec

    @property
    def latency_s(self) -> float:
        """Algorithmic latency in seconds, from a frame's centre to the last sample that it waits for."""
        return self.front_end.latency_s

    def initial_state(self, streams: int) -> TaggerState:
        return TaggerState(self.front_end.initial_state(streams), self.recurrent.initial_state(streams))

    @torch.no_grad()
    def step(self, audio: Tensor, state: TaggerState) -> tuple[Tensor, TaggerState]:
        """Return probabilities [N, f, tags] of the frames that audio [N, n], n >= 0, completes, and the new state.

        Non-finite samples count as silence. A stream that was reset while the batch ran has no frame in the first
        hop after that: its probabilities there are NaN.
        """
        before = state.front_end
        frames, front_end = self.front_end.step(_finite(audio), before)
        x, hidden, parts = self.normalization(frames), state.hidden, []
        if before.warm and x.shape[1]:
            numbers = first_frames(before.index, x.shape[1], self.spec)
            while x.shape[1] and bool((numbers < 0).any()):
                y, new_hidden = self.recurrent.step(x[:, : self.group], hidden)
                hidden = where(numbers < 0, hidden, new_hidden)
                parts.append(y)
                x, numbers = x[:, self.group :], numbers + self.group
        y, hidden = self.recurrent.step(x, hidden)
        probabilities = self._probabilities(torch.cat([*parts, y], dim=1) if parts else y)
        if parts:
            probabilities[before.index < 0, :1] = torch.nan
        return probabilities, TaggerState(front_end, hidden)

    @torch.no_grad()
    def tag(self, frames: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        """Return probabilities [N, f, tags] of the front end's frames [N, F, paths], and the new recurrent state.

        With `front_end` it makes up `step`, for those who run both at the same time.
        """
        y, hidden = self.recurrent.step(self.normalization(frames), hidden)
        return self._probabilities(y), hidden

    def reset_context(self, state: TaggerState) -> TaggerState:
        """Return the state with the recurrent part reset: the audio history stays, so no frame is lost or delayed."""
        return replace(state, hidden=self.recurrent.initial_state(len(state.front_end.index)))

    @torch.no_grad()
    def flush(self, state: TaggerState) -> tuple[Tensor, TaggerState]:
        """Return the remaining frames of streams that end here, [N, f, tags], and the state before the first sample."""
        frames, _ = self.front_end.flush(state.front_end)
        probabilities, _ = self.tag(frames, state.hidden)
        return probabilities, self.initial_state(len(state.front_end.index))

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Return probabilities [N, ceil(T / hop), tags] for audio [N, T]."""
        return self._probabilities(self.recurrent(self.normalization(self.front_end(_finite(audio)))))

    def _probabilities(self, y: Tensor) -> Tensor:
        """Return probabilities [N, f, tags] of the frames with which hops end, for y [N, F, hidden]."""
        return torch.sigmoid(self.head(last_of_hops(y, self.spec)))


def _check_hops(network: WindowedSpec, front_end: FrontEndSpec) -> None:
    """Raise SpecError if the network is not evaluated with the frames that end a hop."""
    per_hop = front_end.frames_per_hop
    if (network.hop, network.phase) != (per_hop, front_end.first_frame % per_hop):
        raise SpecError(f"network: {network.hop} frames per hop do not fit the front end's {per_hop}")


def _finite(audio: Tensor) -> Tensor:
    return torch.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)
