"""A finished run, ready to be asked: features in, probabilities out, clip by clip or frame after frame.

RUN/config.json          its settings, the system's name among them
RUN/best.safetensors     averaged weights and normalisation constants of the epoch that validated best
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamtag.errors import ManifestError, SpecError
from streamtag.model import Normalization, StackedGRU
from streamtag.spec import NetworkSpec
from trainer.features.normalization import Normalizer, normalizer
from trainer.systems import Memory, Recurrent, System
from trainer.train.checkpoint import fitting, load, save
from trainer.train.config import TrainConfig

BEST = "best.safetensors"
WEIGHT, MEAN, STD = "network.", "normalization.mean", "normalization.std"

State = Memory | Tensor  # of streams that are axis 0: `streamtag.model.choose` and `take` work on it


@dataclass(frozen=True)
class TrainedSystem:
    """Weights with all that is needed to ask them. Features are as the cache reads them, not standardised.

    best: what the best epoch came to (`epoch`, `roc_auc` on the validation split).
    """

    system: System
    config: TrainConfig
    tags: tuple[str, ...]
    normalize: Normalizer
    network: nn.Module
    best: dict[str, Any]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> TrainedSystem:
        """Moves the weights themselves."""
        self.network.to(device)
        self.normalize.to(device)
        return self

    @torch.inference_mode()
    def predict_frames(self, features: Tensor) -> Tensor:
        """[N, F, P] from silence -> probabilities [N, F, C], or [N, 1, C] of a system that hears clips as a whole."""
        return self._step(features, self._fresh(len(features)))[0]

    def initial_state(self, streams: int) -> State:
        """Raises SpecError for a system that cannot stream, as `step` does."""
        self._check_streams()
        return self._fresh(streams)

    @torch.inference_mode()
    def step(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """[N, F, P] for any F >= 1 -> probabilities [N, F, C], new state."""
        self._check_streams()
        return self._step(features, state)

    def _check_streams(self) -> None:
        if not self.system.streams:
            raise SpecError(f"{self.system.name}: hears a clip as a whole and cannot stream")

    def _fresh(self, streams: int) -> State:
        state: State = self.network.initial_state(streams)  # type: ignore[operator]
        return state

    def _step(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self.network(self.normalize(features.to(self.device)), state)
        return torch.sigmoid(logits), state

    def core_parts(self) -> tuple[Normalization, StackedGRU, nn.Linear]:
        """What `streamtag.model.Tagger` is made of. Raises SpecError for what it cannot play."""
        network, normalize = self.network, self.normalize
        if self.system.cell != "GRU" or not isinstance(network, Recurrent) or not isinstance(normalize, Normalization):
            raise SpecError(f"{self.system.name}: only GRUs on scattering features fit into a model file")
        first = network.layers[0].gru
        spec = NetworkSpec(first.input_size, network.hidden, len(network.layers), len(self.tags))  # type: ignore[union-attr, arg-type]
        gru = StackedGRU(spec)
        own = network.state_dict()
        weights = {
            f"{name}_l{number}": own[f"layers.{number}.gru.{name}_l0"]
            for number in range(spec.layers)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        gru.gru.load_state_dict(weights)
        return normalize, gru, network.head


def save_run(folder: Path, weights: dict[str, Tensor], trained: TrainedSystem) -> None:
    """Write RUN/best.safetensors: `weights` in place of the network's own."""
    tensors = {WEIGHT + name: weight for name, weight in weights.items()}
    constants = {MEAN: trained.normalize.mean, STD: trained.normalize.std}
    meta = {"config": trained.config.to_dict(), "tags": list(trained.tags), "best": trained.best}
    save({**tensors, **constants}, meta, folder / BEST)


def load_run(folder: Path, later: Sequence[Path] = ()) -> TrainedSystem:
    """The best epoch of a run, on the CPU.

    `later`: runs that began with its weights; their last averaged weights are averaged with its own. Such an average
    depends less on which epoch happened to validate best (Wortsman et al. 2022, "Model soups").
    Raises ManifestError for a folder without weights, or of another network.
    """
    tensors, meta = load(folder / BEST)
    try:
        config, tags, best = TrainConfig.from_dict(meta["config"]), tuple(meta["tags"]), dict(meta["best"])
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{folder}: no finished run of this version: {error}") from error
    normalize = normalizer(config.plan.front, config.normalization)
    network = config.plan.build(len(normalize.mean), len(tags))
    own = network.state_dict()
    weights = fitting(tensors, own, WEIGHT, folder)
    others = [fitting(load(run / "checkpoint.safetensors")[0], own, "average.", run) for run in later]
    network.load_state_dict({name: _mean([w[name] for w in (weights, *others)]) for name in own})
    constants = fitting(tensors, normalize.state_dict(), "normalization.", folder)
    normalize.load_state_dict(constants)
    network.eval().requires_grad_(False)
    return TrainedSystem(config.plan, config, tags, normalize, network, best)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Of whole numbers, which are counts, the first."""
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]
