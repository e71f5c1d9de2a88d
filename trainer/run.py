"""The folder of a training run, and the trained system in it.

RUN/config.json          its settings, including the system's name
RUN/data.json            the data set, and what the run uses of its feature cache
RUN/best.safetensors     averaged weights and normalization constants of the epoch that validated best
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamtag.errors import ManifestError, OutputError, SpecError
from streamtag.model import make_front_end
from streamtag.model.front_end import FrontEnd
from streamtag.model.normalization import Normalizer
from streamtag.model.recurrent import FrameNetwork
from trainer.features.frontends import frontend, normalizer
from trainer.files import first_difference, read_json, write_json
from trainer.systems import RecurrentState, System
from trainer.systems.stacks import to_stack
from trainer.train.checkpoint import load, matching, save
from trainer.train.config import TrainConfig, complete

BEST, CHECKPOINT, SETTINGS, SOURCE = "best.safetensors", "checkpoint.safetensors", "config.json", "data.json"
WEIGHT, MEAN, STD = "network.", "normalization.mean", "normalization.std"

State = RecurrentState | Tensor  # streams are axis 0 of every tensor, as `streamtag.model`'s functions expect


@dataclass(frozen=True)
class DataSource:
    """The contents of RUN/data.json: the data set, which features of its cache the run learns from, and its start.

    `start` is the run's folder or model file whose weights and normalization it began with, if any. It learned nothing
    from the artists in `left_out`, and from human tags only if it names the folder of their `tracks`.
    """

    data: str
    front: str
    seed: int
    passes: int
    start: str | None = None
    left_out: list[str] = field(default_factory=list)
    tracks: str | None = None

    def write(self, folder: Path) -> None:
        """Write RUN/data.json. Raises OutputError if that fails."""
        write_json(folder / SOURCE, asdict(self))

    def check(self, folder: Path) -> None:
        """Raise OutputError if the run in `folder` was begun with something else. The data set may have moved."""
        if (folder / SOURCE).exists():
            found = read_json(folder / SOURCE, OutputError)
            found = {"left_out": [], "tracks": None, **found, "data": self.data}
            if difference := first_difference(found, asdict(self)):
                raise OutputError(f"{folder}: was begun with {difference}: name another folder")


def check_settings(folder: Path, config: TrainConfig) -> bool:
    """Return whether `folder` contains a run with these settings. Raises OutputError if it contains another run."""
    if not (folder / SETTINGS).exists():
        return False
    if difference := first_difference(complete(read_json(folder / SETTINGS, OutputError)), config.to_dict()):
        raise OutputError(f"{folder}: holds a run with other settings ({difference}): name another")
    return True


@dataclass(frozen=True)
class TrainedSystem:
    """A network with everything that predictions need. Features are those of the cache, before normalization.

    `best` has the `epoch` that validated best and its `roc_auc`.
    """

    config: TrainConfig
    tags: tuple[str, ...]
    normalize: Normalizer
    network: nn.Module
    best: dict[str, Any]

    @property
    def system(self) -> System:
        return self.config.plan

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> TrainedSystem:
        """Move the network itself to a device."""
        self.network.to(device)
        self.normalize.to(device)
        return self

    @torch.inference_mode()
    def predict_frames(self, features: Tensor) -> Tensor:
        """Return probabilities [N, F, C] of features [N, F, P] from the initial state, or [N, 1, C] of whole clips."""
        return self._step(features, self._initial_state(len(features)))[0]

    def initial_state(self, streams: int) -> State:
        """Return the state at the start of streams. Raises SpecError for a system that cannot stream."""
        self._check_streams()
        return self._initial_state(streams)

    @torch.inference_mode()
    def step(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return probabilities [N, F, C] of features [N, F, P] for any F >= 1, and the new state."""
        self._check_streams()
        return self._step(features, state)

    def output_count(self, frames: int) -> int:
        """Return the number of probabilities of a stream for so many frames."""
        return frames

    def _check_streams(self) -> None:
        if not self.system.reads_frames:
            raise SpecError(f"{self.system.name}: hears a clip as a whole; only its model file streams")

    def _initial_state(self, streams: int) -> State:
        state: State = self.network.initial_state(streams)  # type: ignore[operator]
        return state

    def _step(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self.network(self.normalize(features.to(self.device)), state)
        return torch.sigmoid(logits), state

    def model_parts(self) -> tuple[FrontEnd[Any], Normalizer, FrameNetwork[Any], nn.Linear]:
        """Return the parts of a `streamtag.model.TaggerNetwork`."""
        front_end, head = make_front_end(frontend(self.system.front).spec), self.network.head
        assert isinstance(head, nn.Linear)
        return front_end, self.normalize, to_stack(self.system, self.network, front_end.spec, self.normalize.size), head


def save_run(folder: Path, weights: dict[str, Tensor], trained: TrainedSystem) -> None:
    """Write RUN/best.safetensors with `weights` instead of the network's own."""
    tensors = {WEIGHT + name: weight for name, weight in weights.items()}
    constants = {MEAN: trained.normalize.mean, STD: trained.normalize.std}
    meta = {"config": trained.config.to_dict(), "tags": list(trained.tags), "best": trained.best}
    save({**tensors, **constants}, meta, folder / BEST)


def load_run(folder: Path, later: Sequence[Path] = ()) -> TrainedSystem:
    """Load the best epoch of a run, on the CPU.

    `later` are runs that began with its weights; their last averaged weights are averaged with its own, which makes
    the result depend less on which epoch happened to validate best (Wortsman et al. 2022, "Model soups").
    Raises ManifestError for a folder without weights, or with those of another network, tags or normalization.
    """
    tensors, meta = load(folder / BEST)
    try:
        config, tags, best = TrainConfig.from_dict(meta["config"]), tuple(meta["tags"]), dict(meta["best"])
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{folder}: no finished run of this version: {error}") from error
    normalize = normalizer(config.plan.front, config.normalization)
    network = config.plan.build(len(normalize.mean), len(tags))
    own = network.state_dict()
    weights = matching(tensors, own, WEIGHT, folder)
    for run in later:
        _check_averageable(run, folder, tensors, meta)
    others = [matching(load(run / CHECKPOINT)[0], own, "average.", run) for run in later]
    network.load_state_dict({name: _mean([w[name] for w in (weights, *others)]) for name in own})
    normalize.load_state_dict(matching(tensors, normalize.state_dict(), "normalization.", folder))
    network.eval().requires_grad_(False)
    return TrainedSystem(config, tags, normalize, network, best)


def _check_averageable(run: Path, first: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Raise ManifestError if the weights of `run` mean something else than those of `first`, which are given."""
    other_tensors, other = load(run / BEST)
    if other.get("tags") != meta["tags"]:
        raise ManifestError(f"{run}: its tags are not those of {first}, or in another order")
    same = all(name in other_tensors and torch.equal(other_tensors[name], tensors[name]) for name in (MEAN, STD))
    settings = [complete(each.get("config", {})) for each in (other, meta)]
    if not same or any(settings[0].get(name) != settings[1].get(name) for name in ("compression", "divide_s1")):
        raise ManifestError(f"{run}: its normalization is not that of {first}: begin it with --start {first}")
    if settings[0]["reset_after"] != settings[1]["reset_after"]:
        raise ManifestError(f"{run}: its weights are of another network")


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean, or the first of integers, which are counts."""
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]
