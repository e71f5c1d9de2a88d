"""What can be evaluated: a training run on cached features, or a model file on sound files."""

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
from trainer.data.manifest import TRAIN, Array, Manifest
from trainer.evaluate import stream_inference
from trainer.evaluate.predictions import Predictions, collect
from trainer.evaluate.stream_inference import Indices, ReadFeatures, StreamingSystem
from trainer.features.audio import Samples, decode
from trainer.features.cache import Cache
from trainer.run import TrainedSystem, load_run

INTERVAL_S = 0.256  # at which predictions are kept: that of scattering frames


@dataclass(frozen=True)
class ClipSound:
    """The sound behind a model's features.

    `read` returns the samples [T] of a clip, as far as its features go, and raises SourceError if it cannot.
    `transform` returns the features [F, P] of any samples.
    """

    sample_rate: int
    read: Callable[[int], Samples]
    transform: Callable[[Samples], Array]


@dataclass(frozen=True)
class EvaluatedModel:
    """One system on one data set.

    `info` has its name, parameters and so on. `predict` yields the probabilities [F, C] of clips, each from the initial
    state. `system` and `read` are set for systems that stream, `sound` where they can also read changed sound.
    `lookahead_s` is from a frame's time to the end of the audio that it needs.
    """

    info: dict[str, Any]
    predict: Callable[[Indices], Iterator[Array]]
    hop_s: float
    lookahead_s: float
    system: StreamingSystem | None = None
    read: ReadFeatures | None = None
    sound: ClipSound | None = None

    def collect(self, clips: Iterator[Array]) -> Predictions:
        """Collect predictions [F, C] of clips."""
        return collect(list(clips), self.hop_s, self.lookahead_s, INTERVAL_S)


def open_model(
    what: Path, data: Manifest, cache: Path, seed: int, device: torch.device
) -> tuple[EvaluatedModel, Manifest]:
    """Open a run's folder or a model file, and return the data set without clips that do not decode.

    Raises a StreamtagError if it is neither, or does not fit the data set.
    """
    if what.is_dir():
        trained = load_run(what).to(device)
        store = Cache(cache, data, trained.system.front, seed)
        return from_run(trained, store, what, what.resolve().name), store.manifest
    data = decodable(data)
    return from_tagger(load_tagger(what, device), data, what.stem), data


def decodable(manifest: Manifest) -> Manifest:
    """Return the data set without clips outside the training split that do not decode, and with a note on them."""
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


def from_streaming(
    system: StreamingSystem,
    read: ReadFeatures,
    info: dict[str, Any],
    hop_s: float,
    lookahead_s: float,
    sound: ClipSound | None = None,
) -> EvaluatedModel:
    """Return a model that streams, on features."""
    predict = partial(stream_inference.predict_fresh, system, read)
    return EvaluatedModel(info, predict, hop_s, lookahead_s, system, read, sound)


class TaggerSteps:
    """The steps of a model file after its frontend: normalization, recurrent layers, probabilities."""

    def __init__(self, tagger: TaggerNetwork) -> None:
        self._tagger = tagger

    def initial_state(self, streams: int) -> Any:
        return self._tagger.recurrent.initial_state(streams)

    def step(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self._tagger.tag(x.to(self._tagger.head.weight.device), state)

    def output_count(self, frames: int) -> int:
        return self._tagger.spec.outputs_of(frames)


def from_tagger(tagger: TaggerNetwork, manifest: Manifest, name: str) -> EvaluatedModel:
    """Return a model file as an evaluated model, which hears sound files as it does for users.

    Raises ManifestError if its tags are not those of the data set.
    """
    if tagger.tags != manifest.tags:
        raise ManifestError(f"{manifest.root}: its tags are not those of the model")
    device = tagger.head.weight.device
    cached: dict[int, Array] = {}

    def transform(samples: Samples) -> Array:
        with torch.inference_mode():
            front = tagger.front_end
            first, state = front.step(torch.from_numpy(samples)[None].to(device), front.initial_state(1))
            return torch.cat([first, front.flush(state)[0]], dim=1)[0].cpu().numpy()

    sound = ClipSound(
        tagger.spec.sample_rate, lambda clip: decode(manifest.clips[clip].path, tagger.spec.sample_rate), transform
    )

    def read(clip: int) -> Array:
        if clip not in cached:  # each is read several times
            cached[clip] = transform(sound.read(clip))
        return cached[clip]

    parameters = sum(weight.numel() for module in (tagger.recurrent, tagger.head) for weight in module.parameters())
    info = {"name": name, "kind": "model file", "parameters": parameters, "heard": "sound files"}
    return from_streaming(TaggerSteps(tagger), read, info, tagger.spec.hop_s, tagger.latency_s, sound)


def from_run(trained: TrainedSystem, cache: Cache, folder: Path, name: str) -> EvaluatedModel:
    """Return the best epoch of the run in `folder` as an evaluated model on the cache's features.

    Raises ManifestError if its tags are not those of the data set.
    """
    if trained.tags != cache.manifest.tags:
        raise ManifestError(f"{folder}: its tags are not those of {cache.manifest.root}")
    front, system = cache.front, trained.system
    info = {
        "name": name,
        "kind": "run",
        "system": system.name,
        "parameters": system.parameters(front.size, len(trained.tags)),
        "heard": f"features: {front.name}",
        "best_epoch": trained.best,
        "training": trained.config.to_dict(),
        "course": _read_log(folder / "log.csv"),
    }

    def read(clip: int) -> Array:
        return cache.read(0, cache.manifest.clips[clip].clip_id)[: trained.config.max_frames]

    def read_sound(clip: int) -> Samples:
        frames = trained.config.max_frames
        samples = decode(cache.manifest.clips[clip].path, front.sample_rate)
        return samples[: frames * front.spec.step] if frames else samples

    if system.reads_frames:
        sound = ClipSound(
            front.sample_rate, read_sound, lambda samples: front.compute(torch.from_numpy(samples)[None])[0].numpy()
        )
        return from_streaming(trained, read, info, front.hop_s, front.lookahead_s, sound)
    return EvaluatedModel(info, partial(_predict_whole, trained, read), front.hop_s, front.lookahead_s)


def _predict_whole(trained: TrainedSystem, read: ReadFeatures, clips: Indices) -> Iterator[Array]:
    """Yield one prediction [1, C] per clip; neighbours of equal length are batched, as many as in training."""
    for part in stream_inference.batches(clips, trained.config.batch):
        for _, equal in groupby((read(int(clip)) for clip in part), len):
            yield from trained.predict_frames(torch.from_numpy(np.stack(list(equal)))).float().cpu().numpy()


def _read_log(log: Path) -> dict[str, list[float]]:
    """Return loss and validation score by epoch from a run's log, or nothing without a log."""
    if not log.exists():
        return {}
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in ("epoch", "loss", "roc_auc")}
