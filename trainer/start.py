"""What a run begins with: the best weights of another run, or those of a model file such as the shipped one.

Weights belong to the normalization they were trained with, so a run that begins with them keeps its constants.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streamtag.api import SHIPPED_MODEL
from streamtag.errors import ManifestError, SpecError
from streamtag.model import Normalization, TaggerNetwork
from streamtag.model.model_file import load_tagger
from streamtag.spec import NetworkSpec, TransposedSpec, front_end_kind
from trainer.features.frontends import FRONTENDS
from trainer.run import TrainedSystem, load_run
from trainer.systems.stacks import from_stack
from trainer.systems.table import name_of
from trainer.train.config import TrainConfig

SHIPPED = "shipped"  # stands for the model file in streamtag


def load_start(name: str, config: TrainConfig, tags: tuple[str, ...]) -> TrainedSystem:
    """Load the weights and normalization that a run with these settings and tags begins with, on the CPU.

    `name` is a run's folder, a model file or `shipped`. Raises ManifestError if it is neither or does not fit the run.
    """
    path = SHIPPED_MODEL if name == SHIPPED else Path(name)
    start = load_run(path) if path.is_dir() else from_tagger(load_tagger(path), name)
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
    return start


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
