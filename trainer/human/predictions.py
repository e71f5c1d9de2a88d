"""Predictions of tracks: every excerpt is one stream from the initial state to its end, as a user's file is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from streamtag.errors import ManifestError, SpecError
from streamtag.model import TaggerNetwork
from streamtag.model.model_file import load_tagger
from trainer.data.manifest import Array
from trainer.evaluate.evaluated_model import INTERVAL_S, TaggerSteps
from trainer.evaluate.predictions import Predictions, collect
from trainer.evaluate.stream_inference import StreamingSystem, predict_batch
from trainer.features.audio import decode
from trainer.features.frontends import frontend
from trainer.human.folds import artist_folds, artists_of, check_left_out
from trainer.human.tracks import Track, TrackFolder
from trainer.run import load_run

BATCH_TRACKS = 16


@dataclass(frozen=True)
class SoundModel:
    """A model that hears sound: `transform` turns samples [1, T] at `sample_rate` Hz into features [1, F, P]."""

    name: str
    tags: tuple[str, ...]
    system: StreamingSystem
    transform: Callable[[Tensor], Tensor]
    sample_rate: int
    hop_s: float
    lookahead_s: float
    device: torch.device


def open_sound_model(what: Path, device: torch.device) -> SoundModel:
    """Open a run's folder or a model file. Raises a StreamtagError if it is neither, or hears whole clips."""
    if what.is_dir():
        trained = load_run(what).to(device)
        if not trained.system.reads_frames:
            raise SpecError(f"{what}: {trained.system.name} hears a clip as a whole; export it first")
        front = frontend(trained.system.front)
        return SoundModel(
            what.resolve().name, trained.tags, trained, front.compute, front.sample_rate, front.hop_s,
            front.lookahead_s, device,
        )  # fmt: skip
    return from_tagger(load_tagger(what, device), what.stem)


def from_tagger(tagger: TaggerNetwork, name: str) -> SoundModel:
    """Return a model file's network as a model that hears sound."""
    spec, transform = tagger.spec, tagger.front_end.forward
    parts = TaggerSteps(tagger), transform, spec.sample_rate, spec.hop_s, tagger.latency_s
    return SoundModel(name, tagger.tags, *parts, tagger.head.weight.device)


def open_folds(files: Sequence[Path], folder: TrackFolder, seed: int, device: torch.device) -> list[SoundModel]:
    """Open one run or model file for each fold of a folder's artists, in order.

    Raises ManifestError if they differ in their tags, or if a run learned from an artist of its fold; model files do
    not say from whom they learned.
    """
    fold_of = artist_folds(folder, len(files), seed)
    for fold, file in enumerate(files):
        if file.is_dir():
            check_left_out(file, artists_of(fold_of, fold))
    models = [open_sound_model(file, device) for file in files]
    if len({(model.tags, model.hop_s) for model in models}) > 1:
        raise ManifestError(f"{files[0]}: the models of the folds have different tags or frames")
    return models


def predict_tracks(model: SoundModel, tracks: Sequence[Track], on_track: Callable[[], None]) -> Predictions:
    """Return predictions of tracks [n]; `on_track` is called after each. Raises SourceError if one has no sound."""
    return collect(_frames(model, tracks, on_track), model.hop_s, model.lookahead_s, INTERVAL_S)


def predict_out_of_fold(
    models: Sequence[SoundModel], folder: TrackFolder, seed: int, on_track: Callable[[], None]
) -> Predictions:
    """Return predictions of the tracks of a folder that have human tags, each by the model of its fold."""
    fold_of = artist_folds(folder, len(models), seed)
    tracks = folder.tagged().tracks
    frames: dict[str, Array] = {}
    for fold, model in enumerate(models):
        own = [track for track in tracks if fold_of[track.artist] == fold]
        frames.update(zip((track.track_id for track in own), _frames(model, own, on_track), strict=True))
    ordered = [frames[track.track_id] for track in tracks]
    return collect(ordered, models[0].hop_s, models[0].lookahead_s, INTERVAL_S)


def _frames(model: SoundModel, tracks: Sequence[Track], on_track: Callable[[], None]) -> list[Array]:
    """Return the probabilities [F, C] of each track."""
    frames = []
    for start in range(0, len(tracks), BATCH_TRACKS):
        features = []
        for track in tracks[start : start + BATCH_TRACKS]:
            samples = torch.from_numpy(decode(track.path, model.sample_rate))[None].to(model.device)
            with torch.inference_mode():
                features.append(model.transform(samples)[0].cpu().numpy())
            on_track()
        frames += predict_batch(model.system, features, model.system.initial_state(len(features)))
    return frames
