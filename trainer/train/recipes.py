"""The named recipes for training a system.

`paper` is what Song et al. 2018 print. DECISIONS lists what they say, what they leave open, what the recipe does, and
why: `python -m trainer systems --paper` prints it.

`best` is ours: `train.config` describes how it was chosen, for GRUs on scattering. The other systems use it with the
dropout of their family, without a search of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Decision:
    """One point of the paper: what it says and leaves open, what the recipe `paper` does, and the reason for that.

    `settings`: the fields of TrainConfig in which the recipe has it, if any.
    """

    what: str
    paper: str
    left_open: str
    chosen: str
    reason: str
    settings: tuple[str, ...] = ()


DECISIONS = (
    Decision(
        "clips", "MagnaTagATune by folder, clips with one of 50 tags: 14,951 / 1,825 / 4,332", "which clips these are",
        "15,247 / 1,529 / 4,332 without three broken files", "no rule by folder gives theirs; 1,825 is all of folder c",
    ),
    Decision(
        "length", "trimmed to 29 s: 114 frames of scattering, 1813 of mel and CQT", "", "the same", "",
        ("trim_s", "frames"),
    ),
    Decision(
        "scattering", "433 paths: two orders, 8 and 1 wavelets per octave, a window of 8192 samples",
        "the number of octaves, and how far wavelets overlap", "374 paths: J=10, Q=8, T=1024 in kymatio's units",
        "kymatio's wavelets for the same window and Q; theirs are of a toolbox they do not name",
    ),
    Decision(
        "Eq. 4", "S1 is divided by S0 (Eq. 4); S1 is standardised as it is (section 5.2)", "which of the two",
        "section 5.2; --set divide_s1=true is Eq. 4",
        "S0 of music is next to zero: 90 % of a band span a factor of 9, divided by it one of 680 (example song)",
        ("divide_s1",),
    ),
    Decision(
        "S0", "standardised like S1", "its sign", "its absolute value", "the sign of an average of sound says nothing",
    ),
    Decision(
        "S2", "divided by its S1, no logarithm", "standardised or not", "divided, then standardised",
        "inputs of one size; Adam and the initial weights expect it", ("compression",),
    ),
    Decision(
        "mel and CQT", "1813 x 96, 1813 x 84 at 16 kHz; fed like scattering",
        "the counts of Table 2 need 1366 and 907 inputs", "on their side: a step is a band, frames averaged to as many",
        "only so the counts fit; rows `by-time` are fed like scattering",
    ),
    Decision(
        "GRU", "the reset gate inside the product (Eq. 9, whose z is 1 - z of TensorFlow)", "", "the same", "",
        ("reset_after",),
    ),
    Decision(
        "initial weights", "TensorFlow", "which initializers", "the defaults of TensorFlow 1.x; BN-LSTM: as in `best`",
        "nothing else is said; TensorFlow had no BN-LSTM", ("initialization",),
    ),
    Decision(
        "dropout", "without memory loss, 0.75 (CNN: 0.5 after each pooling)", "whether 0.75 is kept or dropped",
        "0.25 of the candidates of a state are dropped", "TensorFlow's argument at that time was the share kept",
        ("recurrent_dropout", "dropout", "input_dropout"),
    ),
    Decision(
        "output", "a sigmoid layer on the last recurrent layer", "of every frame or the last; how a clip is scored",
        "every frame learns the clip's tags, a clip's score is their mean; --set pooling=last or learned",
        "a stream needs every frame", ("pooling", "modulation", "lag_s", "ramp_s", "clip_loss"),
    ),
    Decision(
        "loss", "binary cross-entropy", "", "the same", "",
    ),
    Decision(
        "optimizer", "Adam from 1e-5 on, exponential decay", "its speed, warm-up, weight decay",
        "to a tenth over the run, none, none", "a common choice; plain Adam has neither",
        ("rate", "schedule", "last_rate", "warmup", "weight_decay", "beta_2"),
    ),
    Decision(
        "gradients", "clipping solves explosions (section 4.1)", "whether they clip, and where", "to a norm of 1",
        "the usual value; without, recurrent networks diverge now and then", ("clip_norm",),
    ),
    Decision(
        "batch", "", "its size", "64 clips", "a common size", ("batch",),
    ),
    Decision(
        "epochs", "300", "which of them is scored", "the best on the validation split, no early end",
        "their validation split has no other use", ("epochs", "patience", "ema"),
    ),
    Decision(
        "sequences", "each clip is one sequence, no augmentation", "", "the same", "",
        ("carry", "cut", "mixup", "gain_db", "tilt_db", "noise", "time_masks", "path_masks"),
    ),
    Decision(
        "precision", "a GTX 1080", "", "float32", "it has no units for less", ("precision",),
    ),
)  # fmt: skip


def recipe(name: str, system: str) -> TrainConfig:
    """Return the settings of a recipe for a system. Raises SpecError for an unknown recipe or system."""
    if name not in RECIPES:
        raise SpecError(f"no recipe {name!r}, only: {', '.join(RECIPES)}")
    return RECIPES[name](named(system))
