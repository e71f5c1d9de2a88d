"""The named recipes for training a system.

`paper` is what Song et al. 2018 print: GRUs with the reset gate inside the product (Eq. 9), Adam at 1e-5, exponential
decay, up to 300 epochs, binary cross-entropy, S2 divided by its S1 without a logarithm, each clip trimmed to 29 s and
one sequence, no augmentation, recurrent dropout without memory loss (0.5 after each pooling of the CNN). Weights begin
as in TensorFlow 1.x, which they used. The paper leaves these open: 0.75 is taken as the share kept, as in TensorFlow's
argument at that time, so 0.25 is dropped; the rate decays to a tenth over the run; a step has 64 clips; all frames have
equal weight; gradients are clipped at 1; there is no early stopping. Products are float32, as on a GTX 1080.

`best` is ours: `train.config` describes how it was chosen, for GRUs on scattering. The other systems use it with the
dropout of their family, without a search of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamtag.errors import SpecError
from trainer.features.frontends import frontend
from trainer.systems import System, named
from trainer.train.config import TrainConfig

CLIP_S = 29.0  # to which the paper trims clips


def _paper(system: System) -> TrainConfig:
    convolutional = system.family == "convolutional"
    return TrainConfig(
        system=system.name,
        compression="none",
        reset_after=system.cell != "GRU",
        initialization="tensorflow",
        trim_s=CLIP_S,
        epochs=300,
        batch=64,
        rate=1e-5,
        schedule="exponential",
        last_rate=0.1,
        warmup=1,
        weight_decay=0.0,
        beta_2=0.999,
        dropout=0.5 if convolutional else 0.0,
        recurrent_dropout=0.0 if convolutional else 0.25,
        input_dropout=0.0,
        ema=0.0,
        patience=300,
        precision="float32",
        modulation=0.0,
        lag_s=0.0,
        ramp_s=0.0,
        clip_loss=0.0,
        frames=_clip_frames(system),
        carry=0.0,
        cut=0.0,
        mixup=0.0,
        gain_db=0.0,
        tilt_db=0.0,
        noise=0.0,
        time_masks=0,
        path_masks=0,
    )


def _best(system: System) -> TrainConfig:
    frames = _clip_frames(system)
    if system.family == "convolutional":
        return TrainConfig(system=system.name, frames=frames, dropout=0.5, carry=0.0, cut=0.0)
    if system.family == "transposed":
        return TrainConfig(system=system.name, frames=frames, carry=0.0, cut=0.0)
    if system.cell == "BN-LSTM":
        return TrainConfig(system=system.name, frames=frames, carry=0.0)
    config = TrainConfig(system=system.name, frames=frames)
    if system.front != "scattering":
        return replace(config, frames=frames // 4)  # 7 s: gradients through 1800 steps vanish anyway
    return config


def _clip_frames(system: System) -> int:
    front = frontend(system.front)
    return front.frame_count(round(CLIP_S * front.sample_rate))


RECIPES: dict[str, Callable[[System], TrainConfig]] = {"paper": _paper, "best": _best}


def recipe(name: str, system: str) -> TrainConfig:
    """Return the settings of a recipe for a system. Raises SpecError for an unknown recipe or system."""
    if name not in RECIPES:
        raise SpecError(f"no recipe {name!r}, only: {', '.join(RECIPES)}")
    return RECIPES[name](named(system))
