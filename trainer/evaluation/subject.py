"""What is evaluated: something that says how likely each tag is, with what its figures should be known by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from streamtag.core import Tagger
from streamtag.errors import ManifestError
from trainer.audio import decode
from trainer.evaluation import listening
from trainer.evaluation.listening import Indices, Listener, Read
from trainer.evaluation.predictions import Predictions, collect
from trainer.manifest import Array, Manifest

EVERY_S = 0.256  # how densely what was said is kept: as often as a frame of scattering comes


@dataclass(frozen=True)
class Subject:
    """One system on one data set.

    about: its name, parameters, ...; say: what it says about clips [F, C], each from silence. listener and read:
    for those that can be heard as a stream, else None. lookahead_s: from a frame's time to the last sound it needs.
    """

    about: dict[str, Any]
    say: Callable[[Indices], Iterator[Array]]
    hop_s: float
    lookahead_s: float
    listener: Listener | None = None
    read: Read | None = None

    @property
    def collect(self) -> Callable[..., Predictions]:
        return partial(collect, hop_s=self.hop_s, lookahead_s=self.lookahead_s, every_s=EVERY_S)


def of_listener(listener: Listener, read: Read, about: dict[str, Any], hop_s: float, lookahead_s: float) -> Subject:
    """A system that streams, on features."""
    return Subject(about, partial(listening.fresh, listener, read), hop_s, lookahead_s, listener, read)


class Hearing:
    """A finished model after its front end: standardisation, GRU, probabilities."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger

    def initial_state(self, streams: int) -> torch.Tensor:
        return self._tagger.gru.initial_state(streams)

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self._tagger.normalization(x.to(state.device))
        y, state = self._tagger.gru.step(frames, state)
        return torch.sigmoid(self._tagger.head(y)), state


def of_tagger(tagger: Tagger, manifest: Manifest, name: str) -> Subject:
    """A model file, on the clips' sound itself, which is decoded as a user's file is.

    Raises ManifestError if its tags are not those of the data set.
    """
    if tagger.tags != manifest.tags:
        raise ManifestError(f"{manifest.root}: its tags are not those of the model")
    device = tagger.head.weight.device
    kept: dict[int, Array] = {}

    def read(clip: int) -> Array:
        if clip not in kept:  # each is heard several times
            samples = decode(manifest.clips[clip].path, tagger.spec.sample_rate)
            with torch.inference_mode():
                kept[clip] = tagger.scattering.forward(torch.from_numpy(samples)[None].to(device))[0].cpu().numpy()
        return kept[clip]

    parameters = sum(weight.numel() for module in (tagger.gru, tagger.head) for weight in module.parameters())
    about = {"name": name, "kind": "model file", "parameters": parameters, "heard": "sound files"}
    return of_listener(Hearing(tagger), read, about, tagger.spec.hop_s, tagger.latency_s)
