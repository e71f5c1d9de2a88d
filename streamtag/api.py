"""The public API: load a model, tag a whole file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamtag.audio.decoder import SourceSpec, open_source
from streamtag.audio.prefetch import PrefetchReader
from streamtag.errors import DeviceError
from streamtag.inference.events import EventDetector
from streamtag.inference.frame import TagFrame
from streamtag.inference.overlapped import open_file_session
from streamtag.inference.presence import group_names, positive, present_columns
from streamtag.model.model_file import load_tagger
from streamtag.model.network import TaggerNetwork
from streamtag.spec import ConceptSpec

SHIPPED_MODEL = Path(__file__).with_name("weights") / "streamtag.safetensors"
# names that stand for the model files in the package; a file of such a name is given with its folder
INCLUDED_MODELS = {"shipped": SHIPPED_MODEL, "small": SHIPPED_MODEL.with_name("streamtag-small.safetensors")}


@dataclass(frozen=True)
class Result:
    """Frames of one file. times [F]: window centres, s. probs [F, tags]. summary: each tag's mean.

    concepts: names of groups of tags that mean the same. concept_probs [F, concepts]: that any of them applies,
    calibrated. concept_summary: each concept's mean. present: the concepts that are present in the file, by category,
    strongest first. present_s: for how many seconds a concept was present; only those that were. seconds: length of
    the audio that was tagged. warnings: damage that was skipped.
    """

    tags: list[str]
    times: NDArray[np.float64]
    probs: NDArray[np.float32]
    summary: dict[str, float]
    concepts: list[str]
    concept_probs: NDArray[np.float32]
    concept_summary: dict[str, float]
    present: dict[str, tuple[str, ...]]
    present_s: dict[str, float]
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tagger:
    """A model on its device, ready for any number of sessions."""

    network: TaggerNetwork
    device: str
    path: Path

    @property
    def tags(self) -> tuple[str, ...]:
        return self.network.tags

    @property
    def thresholds(self) -> tuple[float, ...]:
        """For each tag the probability from which on it counts as present."""
        return self.network.thresholds

    @property
    def concepts(self) -> tuple[ConceptSpec, ...]:
        """Groups of tags that mean the same: name, category, tags, calibration, threshold."""
        return self.network.concepts

    @property
    def card(self) -> dict[str, Any]:
        """The origin of the model, and its scores."""
        return self.network.card

    def tag(self, where: str | Path, *, start: float = 0.0, duration: float | None = None) -> Result:
        """Tag a whole file or a part of it: a path, an http(s) address, or "-" for standard input.

        start, duration: the part, in seconds; times in the result count from the start of the file. Memory grows only
        by the probabilities of each frame. Raises SourceError, and SpecError if start or duration is negative.
        """
        source = partial(open_source, spec=SourceSpec(start_s=start, duration_s=duration))
        with PrefetchReader(str(where), source) as reader, open_file_session(self, start) as session:
            blocks = [self._probs(session.feed(samples)) for samples in reader if len(samples)]
            probs = np.concatenate([*blocks, self._probs(session.flush())])
        concepts, concept_probs = [concept.name for concept in self.concepts], self.network.concept_map(probs)
        categories = [concept.category for concept in self.concepts]
        times = start + np.arange(len(probs), dtype=np.float64) * self.network.spec.hop_s
        detector = EventDetector(concepts, [concept.threshold for concept in self.concepts])
        for row, time in zip(concept_probs, times.tolist(), strict=True):
            detector.update(row, time)
        present_s, means = detector.present_s(start + session.seconds), concept_probs.mean(axis=0, dtype=np.float64)
        columns = present_columns(concepts, categories, present_s, means, session.seconds)
        return Result(
            tags=list(self.tags),
            times=times,
            probs=probs,
            summary=dict(zip(self.tags, probs.mean(axis=0, dtype=np.float64).tolist(), strict=True)),
            concepts=concepts,
            concept_probs=concept_probs,
            concept_summary=dict(zip(concepts, means.tolist(), strict=True)),
            present=group_names(columns, concepts, categories),
            present_s=positive(concepts, present_s),
            seconds=session.seconds,
            warnings=tuple(reader.warnings),
        )

    def _probs(self, frames: list[TagFrame]) -> NDArray[np.float32]:
        """Return [f, tags] as an array of its own, which takes a fraction of the frames' memory."""
        return np.array([frame.probs for frame in frames], np.float32).reshape(-1, len(self.tags))


def load(model: str | Path | None = None, device: str = "auto") -> Tagger:
    """Load a model file onto "cpu", "cuda" or the better of them ("auto").

    model: a path, or "shipped" or "small", the models in the package; None is the shipped one. Raises ModelFileError,
    and DeviceError if the device is unknown or missing.
    """
    device = _resolve_device(device)
    path = SHIPPED_MODEL if model is None else INCLUDED_MODELS.get(str(model), Path(model))
    return Tagger(load_tagger(path, device), device, path)


def _resolve_device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {device!r}: must be auto, cpu or cuda")
    if device == "cpu":
        return device
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise DeviceError("device cuda: PyTorch finds no CUDA device here; use cpu or auto")
    return "cuda" if has_cuda else "cpu"
