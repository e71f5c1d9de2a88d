"""What a run begins with: the best weights of another run, or those of a model file such as the shipped one.

Weights belong to the normalization they were trained with, so a run that begins with them keeps its constants. A GRU
may begin with the weights of one that has fewer layers of its width: see `deepened`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from streamtag.api import INCLUDED_MODELS
from streamtag.errors import ManifestError, SpecError
from streamtag.model import Normalization, TaggerNetwork
from streamtag.model.model_file import load_tagger
from streamtag.spec import NetworkSpec, TransposedSpec, front_end_kind
from trainer.features.frontends import FRONTENDS
from trainer.run import TrainedSystem, load_run
from trainer.systems import System
from trainer.systems.stacks import from_stack
from trainer.systems.table import name_of
from trainer.train.config import TrainConfig

FIRST_SLOPE = 0.5  # see `deepened`
KEPT = -3.0  # the log-odds of the share of a state that a frame keeps
NOISE = 0.02  # of the usual random weights


def load_start(name: str) -> TrainedSystem:
    """Load the weights and normalization that a run begins with, on the CPU.

    `name` is a run's folder, a model file or a name in INCLUDED_MODELS. Raises ManifestError for a folder or network
    that is not the trainer's, ModelFileError if it is no model file.
    """
    path = INCLUDED_MODELS.get(name, Path(name))
    return load_run(path) if path.is_dir() else from_tagger(load_tagger(path), name)


def is_deeper(system: System, start: System) -> bool:
    """Return whether `system` is a GRU that has all layers of `start` and further ones of the same width."""
    same = ("front", "family", "cell", "hidden", "reset_after")
    is_gru = (system.family, system.cell) == ("recurrent", "GRU")
    return is_gru and system.layers > start.layers and all(getattr(system, n) == getattr(start, n) for n in same)


def deepened(start: TrainedSystem, name: str) -> TrainedSystem:
    """Return `start` with the further layers of the system `name`, which `is_deeper`, before the output layer.

    A new layer begins as almost the identity (Chen et al. 2016, "Net2Net: accelerating learning via knowledge
    transfer"): a frame replaces 95 % of its state by tanh(x), the first one's by tanh(x / 2), which bends less, and the
    output layer doubles that again. The other new weights are next to 0.
    """
    config = replace(start.config, system=name)
    old, inputs, outputs = start.network.state_dict(), len(start.normalize.mean), len(start.tags)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = config.plan.build(inputs, outputs)
    weights = network.state_dict()
    for key, weight in weights.items():
        layer = int(key.split(".")[1]) if key.startswith("layers.") else 0
        if layer < start.system.layers:
            weight.copy_(old[key])
        else:
            _make_identity(key, weight, FIRST_SLOPE if layer == start.system.layers else 1.0)
    weights["head.weight"] /= FIRST_SLOPE
    network.eval().requires_grad_(False)
    return TrainedSystem(config, start.tags, start.normalize, network, start.best)


def _make_identity(key: str, weight: Tensor, slope: float) -> None:
    """Set a tensor of a GRU layer. Its rows are the reset gate, the update gate and the candidate."""
    hidden = len(weight) // 3
    weight *= NOISE  # biases are 0
    if "bias_ih" in key:
        weight[hidden : 2 * hidden] = KEPT
    if "weight_ih" in key:
        weight[2 * hidden :] += slope * torch.eye(hidden)


def check_start(name: str, start: TrainedSystem, config: TrainConfig, tags: tuple[str, ...]) -> None:
    """Raise ManifestError, which calls it `name`, if a run with these settings and tags cannot begin with `start`."""
    for what, found, expected in (
        ("of another network", start.config.system, config.system),
        ("for another compression", start.config.compression, config.compression),
        *(
            (f"for another {name}", getattr(start.config, name), getattr(config, name))
            for name in ("divide_s1", "reset_after")
        ),
    ):
        if found != expected:
            raise ManifestError(f"{name}: its weights are {what}: {found}, not {expected}")
    if start.tags != tags:
        raise ManifestError(f"{name}: its tags are not those of the data set, or in another order")


def from_tagger(tagger: TaggerNetwork, name: str) -> TrainedSystem:
    """Return the network of a model file for training. Raises ManifestError if its input is not the trainer's."""
    spec = tagger.recurrent.spec
    front, normalization = front_end_kind(tagger.spec), tagger.normalization
    is_torch = not isinstance(spec, NetworkSpec | TransposedSpec) or spec.reset_after
    try:
        config = TrainConfig(system=name_of(front, spec), carry=0.0, reset_after=is_torch)
        weights = from_stack(tagger.recurrent, tagger.head)
    except SpecError as error:
        raise ManifestError(f"{name}: {error}") from None
    if isinstance(normalization, Normalization):
        chosen = normalization.spec
        config = replace(config, compression=chosen.compression, divide_s1=chosen.divide_s1)
    is_ours = not isinstance(normalization, Normalization) or normalization.spec == config.normalization
    if tagger.spec != FRONTENDS[front].spec or not is_ours:
        raise ManifestError(f"{name}: its {front} or normalization has other settings than the trainer's")
    network = config.plan.build(spec.inputs, spec.outputs)
    own = network.state_dict()  # of batch normalization it has a counter that nothing reads
    network.load_state_dict({**own, **weights})
    network.eval().requires_grad_(False)
    return TrainedSystem(config, tuple(tagger.tags), normalization, network, {})
