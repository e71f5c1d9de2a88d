"""Predictions of tracks: every excerpt is one stream from the initial state to its end, as a user's file is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model.model_file import load_tagger
from trainer.evaluate.evaluated_model import INTERVAL_S, TaggerSteps
from trainer.evaluate.predictions import Predictions, collect
from trainer.evaluate.stream_inference import StreamingSystem, predict_batch
from trainer.features.audio import decode
from trainer.features.frontends import frontend
from trainer.human.tracks import Track
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
        if not trained.system.streams:
            raise SpecError(f"{what}: {trained.system.name} hears a clip as a whole and cannot stream")
        front = frontend(trained.system.front)
        return SoundModel(
            what.resolve().name, trained.tags, trained, front.compute, front.sample_rate, front.hop_s,
            front.lookahead_s, device,
        )  # fmt: skip
    tagger = load_tagger(what, device)
    spec = tagger.spec
    return SoundModel(
        what.stem, tagger.tags, TaggerSteps(tagger), tagger.scattering.forward, spec.sample_rate, spec.hop_s,
        tagger.latency_s, device,
    )  # fmt: skip


def predict_tracks(model: SoundModel, tracks: Sequence[Track], on_track: Callable[[], None]) -> Predictions:
    """Return the predictions of tracks [n]; `on_track` is called after each. Raises SourceError if one has no sound."""
    frames = []
    for start in range(0, len(tracks), BATCH_TRACKS):
        features = []
        for track in tracks[start : start + BATCH_TRACKS]:
            samples = torch.from_numpy(decode(track.path, model.sample_rate))[None].to(model.device)
            with torch.inference_mode():
                features.append(model.transform(samples)[0].cpu().numpy())
            on_track()
        frames += predict_batch(model.system, features, model.system.initial_state(len(features)))
    return collect(frames, model.hop_s, model.lookahead_s, INTERVAL_S)
