"""What is evaluated: something that says how likely each tag is, with what its figures should be known by."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamtag.errors import ManifestError, SourceError
from streamtag.model import TaggerNetwork
from streamtag.model.model_file import load_tagger
from streamtag.spec import ScatteringSpec
from trainer.data.manifest import Array, Manifest
from trainer.evaluate import stream_inference
from trainer.evaluate.predictions import Predictions, collect
from trainer.evaluate.stream_inference import Indices, Listener, Read
from trainer.features.audio import decode
from trainer.features.cache import TRAIN, Cache
from trainer.features.frontends import CqtSpec, Frontend
from trainer.run import TrainedSystem, load_run

EVERY_S = 0.256  # how densely what was said is kept: as often as a frame of scattering comes


@dataclass(frozen=True)
class EvaluatedModel:
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


def open_model(
    what: Path, data: Manifest, cache: Path, seed: int, device: torch.device
) -> tuple[EvaluatedModel, Manifest]:
    """A run's folder or a model file, and the data set as it can hear it: a run without clips that do not decode.

    Raises a StreamtagError if it is neither, or does not fit the data set.
    """
    if what.is_dir():
        trained = load_run(what).to(device)
        store = Cache(cache, data, trained.system.front, seed)
        return of_run(trained, store, what, what.resolve().name), store.manifest
    data = decodable(data)
    return of_tagger(load_tagger(what, device), data, what.stem), data


def decodable(manifest: Manifest) -> Manifest:
    """Without the clips outside training whose sound does not decode: a note says which."""
    dropped = []
    for clip in manifest.clips:
        if clip.split == TRAIN:
            continue
        try:
            decode(clip.path, ScatteringSpec().sample_rate)
        except SourceError:
            dropped.append(clip.clip_id)
    if not dropped:
        return manifest
    note = f"left out: {', '.join(dropped)}: their sound does not decode"
    return replace(manifest.without(set(dropped)), notes=(*manifest.notes, note))


def of_listener(
    listener: Listener, read: Read, about: dict[str, Any], hop_s: float, lookahead_s: float
) -> EvaluatedModel:
    """A system that streams, on features."""
    return EvaluatedModel(about, partial(stream_inference.fresh, listener, read), hop_s, lookahead_s, listener, read)


class Hearing:
    """A finished model after its front end: standardisation, GRU, probabilities."""

    def __init__(self, tagger: TaggerNetwork) -> None:
        self._tagger = tagger

    def initial_state(self, streams: int) -> torch.Tensor:
        return self._tagger.gru.initial_state(streams)

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self._tagger.normalization(x.to(state.device))
        y, state = self._tagger.gru.step(frames, state)
        return torch.sigmoid(self._tagger.head(y)), state


def of_tagger(tagger: TaggerNetwork, manifest: Manifest, name: str) -> EvaluatedModel:
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


def of_run(trained: TrainedSystem, cache: Cache, folder: Path, name: str) -> EvaluatedModel:
    """The best epoch of the run in `folder`, on the features in the cache, under a name.

    Raises ManifestError if its tags are not those of the data set.
    """
    if trained.tags != cache.manifest.tags:
        raise ManifestError(f"{folder}: its tags are not those of {cache.manifest.root}")
    front, system = cache.front, trained.system
    about = {
        "name": name,
        "kind": "run",
        "system": system.name,
        "parameters": system.parameters(front.size, len(trained.tags)),
        "heard": f"features: {front.name}",
        "best_epoch": trained.best,
        "training": trained.config.to_dict(),
        "course": _course(folder / "log.csv"),
    }

    def read(clip: int) -> Array:
        return cache.read(0, cache.manifest.clips[clip].clip_id)

    ahead = lookahead_s(front)
    if system.streams:
        return of_listener(trained, read, about, front.hop_s, ahead)
    return EvaluatedModel(about, partial(_whole, trained, read), front.hop_s, ahead)


def lookahead_s(front: Frontend) -> float:
    """Seconds of sound after a frame's centre that it needs: of a spectrogram half its longest window."""
    spec = front.spec
    if isinstance(spec, ScatteringSpec):
        return spec.lookahead_s
    if isinstance(spec, CqtSpec):
        cycles = 1 / (2 ** (1 / spec.bins_per_octave) - 1)
        return cycles / spec.lowest_hz / 2
    return spec.n_fft / spec.sample_rate / 2


def _whole(trained: TrainedSystem, read: Read, clips: Indices) -> Iterator[Array]:
    """One answer a clip [1, C]; neighbours of equal length together."""
    features = ((read(int(clip)) for clip in part) for part in stream_inference.batches(clips))
    for part in features:
        for _, alike in groupby(part, len):
            yield from trained.predict_frames(torch.from_numpy(np.stack(list(alike)))).float().cpu().numpy()


def _course(log: Path) -> dict[str, list[float]]:
    """Loss and validation score by epoch, from a run's log; empty if there is none."""
    if not log.exists():
        return {}
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in ("epoch", "loss", "roc_auc")}
