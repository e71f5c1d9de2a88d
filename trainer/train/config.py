"""The settings of a training run: frozen, checked, and stored with its results.

Two named recipes set them: `paper`, as printed, and `best`, ours, which trained the first shipped model. It was chosen
by the validation ROC-AUC (all / real / rendered clips) of runs on the corpus of that model, with one seed each, so that
differences below 0.003 mean little.

    3 x 256 units, 24 epochs, rate 2e-3, two augmented passes       0.956 / 0.904 / 0.973
    the same, compression none                                      0.955
    the same, loudness changes of 2 dB instead of 6                 0.955 / 0.907 / 0.973
    5 x 512, 20 of 24 epochs, rate 1e-3, one augmented pass         0.947 / 0.898 / 0.961
    5 x 512, 65 of 100 epochs, rate 1.5e-3, eight augmented passes  0.957 / 0.911 / 0.977 (epoch 53, the best)
    started with its weights: 14 epochs, rate 4e-4, loudness 2 dB, dropout 0.5, average over fewer steps (0.99):
      two augmented passes                                          0.956 / 0.913 / 0.973
      eight augmented passes                                        0.956 / 0.910 / 0.976
    the mean of the last three's weights: the first shipped model   0.956 / 0.911 / 0.976

Facts of scores raised and lowered those targets, so that the figures over all clips mostly measure whether a clip is
rendered. The models shipped now learned from more recordings and without facts, as `commands.recipe` makes them. There,
two layers, trained from new weights, agree better with the taggers than five that began with these:

    5 x 512, from the weights above, 23 epochs      0.947 / 0.911 (whole real clips, and after 3 s)
    2 x 256, from new weights, 12 epochs            0.951 / 0.926
    2 x 512, the same                               0.955 / 0.926
    the latter deepened to 5 x 512, one epoch more  0.954 / 0.926
    the 2 x 512, six epochs more without dropout, mixup, hidden and noisy features  0.960 / 0.930
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from streamtag.errors import SpecError
from streamtag.spec import NormalizationSpec
from trainer.evaluate.pooling import POOLINGS
from trainer.features.frontends import frontend
from trainer.systems import System, named

SCHEDULES = ("cosine", "exponential")
PRECISIONS = ("bfloat16", "float32")
INITIALIZATIONS = ("ours", "tensorflow")
KEPT_EPOCHS = ("best", "last")
# since the first runs, which had their defaults
ADDED = ("divide_s1", "reset_after", "initialization", "trim_s", "pooling", "human_loss", "keep")


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run. Probabilities and shares are in [0, 1]; times are in seconds."""

    system: str = "Scat-5L-512H-GRU"
    compression: str = "log"  # of scattering features; the paper uses `none`
    divide_s1: bool = False  # S1 by S0, as the paper's Eq. 4 has it and its section 5.2 has not
    reset_after: bool = True  # of GRUs: see streamtag.spec.NetworkSpec; false in the paper's Eq. 9
    initialization: str = "ours"  # of the weights; tensorflow: that of TensorFlow in 2017 (see train.initialization)
    trim_s: float = 0.0  # clips end after so many seconds; 0: where they end
    # the optimizer: AdamW (Adam without weight_decay) with linear warm-up, then the schedule
    epochs: int = 200
    batch: int = 64  # clips per step, over all processes
    rate: float = 1e-3
    schedule: str = "cosine"  # down to zero, or exponential down to last_rate
    last_rate: float = 0.1  # the share of the rate that remains at the end of the exponential decay
    warmup: int = 200  # steps
    weight_decay: float = 0.02
    beta_2: float = 0.98  # Adam's decay of squared gradients
    clip_norm: float = 1.0  # the gradients of recurrent networks explode occasionally
    dropout: float = 0.3  # between the layers
    recurrent_dropout: float = 0.0  # without memory loss; slower on a GPU, where cuDNN lacks it
    input_dropout: float = 0.1  # of features, for a whole sequence: no tag may depend on one band
    ema: float = 0.998  # decay of the averaged weights per step, which validation and export use
    patience: int = 60  # epochs without a better validation score before the run ends
    keep: str = "best"  # the weights of the best epoch by validation, or those of the last one
    precision: str = "bfloat16"  # of matrix products, where there are units for it; all else stays float32
    seed: int = 1
    valid_kind: str = ""  # of the validation clips (real, say); empty: all
    # the targets
    modulation: float = 0.5  # how far frame targets follow the window targets; 0: the clip's mean everywhere
    lag_s: float = 0.75  # delay of frame targets after the windows' centres, since the future is not known yet
    ramp_s: float = 3.0  # at the start of a clip, where frames count less ...
    ramp_from: float = 0.2  # ... starting at this weight
    clip_loss: float = 0.5  # weight of the loss of the clip's score: the plain mean over the frames, or the last one
    human_loss: float = 0.0  # weight of the loss of clips against human tags: see train.human_labels
    pooling: str = "mean"  # of frames to a clip's score: mean, last, or learned, which is the mean while training
    # the sequences (see train.sampler)
    frames: int = 114  # of a segment, through which gradients flow back
    carry: float = 0.25  # share of clips after whose end the next one starts in their final state, as in a stream
    cut: float = 0.15  # share of clips that are followed by the next one before their end
    mixup: float = 0.3  # share of sequences that are mixed with another one
    # augmentation of features, in addition to the cache's augmentation of audio
    gain_db: float = 6.0  # standard deviation of the loudness
    tilt_db: float = 0.8  # standard deviation of the spectral tilt per octave
    noise: float = 0.2  # standard deviation, in normalized units
    time_masks: int = 2  # hidden ranges of time (SpecAugment)
    path_masks: int = 2  # hidden ranges of neighbouring features

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "frames", "warmup", "patience"):
            value = getattr(self, name)
            self._check(isinstance(value, int) and value > 0, f"{name} must be a positive whole number, not {value!r}")
        shares = ("dropout", "recurrent_dropout", "input_dropout", "ema")
        for name in (*shares, "modulation", "ramp_from", "carry", "cut", "mixup"):
            self._check(0.0 <= getattr(self, name) <= 1.0, f"{name} must lie between 0 and 1")
        for name in shares:
            self._check(getattr(self, name) < 1.0, f"{name} must be below 1")
        for name in ("rate", "clip_norm", "last_rate", "beta_2"):
            self._check(getattr(self, name) > 0.0, f"{name} must be above 0")
        self._check(max(self.last_rate, self.beta_2 + 1e-9) <= 1.0, "last_rate must not exceed 1, beta_2 be below it")
        losses = ("clip_loss", "human_loss")
        for name in ("weight_decay", "lag_s", "ramp_s", *losses, "gain_db", "tilt_db", "noise", "trim_s"):
            self._check(getattr(self, name) >= 0, f"{name} must not be negative")
        for name in ("time_masks", "path_masks"):
            value = getattr(self, name)
            self._check(isinstance(value, int) and value >= 0, f"{name} must be a whole number, not {value!r}")
        for name, known in (
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("initialization", INITIALIZATIONS),
            ("pooling", POOLINGS),
            ("keep", KEPT_EPOCHS),
        ):
            self._check(getattr(self, name) in known, f"{name} must be one of {', '.join(known)}")
        self._check(isinstance(self.reset_after, bool), "reset_after must be true or false")
        self._check(self.reset_after or self.plan.cell == "GRU", "reset_after is a setting of GRUs only")
        _ = self.normalization
        starts_fresh = self.plan.cell != "BN-LSTM" or self.carry == 0.0
        self._check(starts_fresh, "carry must be 0 for a BN-LSTM: its statistics belong to a frame since the beginning")

    def _check(self, ok: bool, message: str) -> None:
        if not ok:
            raise SpecError(f"TrainConfig: {message}")

    @property
    def normalization(self) -> NormalizationSpec:
        values = {"compression": self.compression, "divide_s1": self.divide_s1}
        return NormalizationSpec.from_dict({**NormalizationSpec().to_dict(), **values})

    @property
    def plan(self) -> System:
        """Return the system that is trained."""
        return replace(named(self.system), reset_after=self.reset_after)

    @property
    def max_frames(self) -> int | None:
        """Return the number of frames of a clip that is trimmed to `trim_s`, or None if clips are not trimmed."""
        front = frontend(self.plan.front)
        return front.frame_count(round(self.trim_s * front.sample_rate)) if self.trim_s else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings. Those of older runs mean what they meant. Raises SpecError."""
        values = complete(values)
        wrong = sorted(set(values) ^ {f.name for f in fields(cls)})
        if wrong:
            raise SpecError(f"TrainConfig: missing or unknown fields: {', '.join(wrong)}")
        return cls(**values)


_SWITCH = {"true": True, "false": False}


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the defaults of those that older runs did not have."""
    return {**{f.name: f.default for f in fields(TrainConfig) if f.name in ADDED}, **values}


def with_settings(config: TrainConfig, pairs: list[str]) -> TrainConfig:
    """Return the config with `NAME=VALUE` settings applied. Raises SpecError for a malformed or unknown one."""
    kinds = {f.name: type(getattr(config, f.name)) for f in fields(config)}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in kinds:
            raise SpecError(f"--set {pair}: not NAME=VALUE with one of: {', '.join(kinds)}")
        try:
            values[name] = _SWITCH[text.lower()] if kinds[name] is bool else kinds[name](text)
        except KeyError:
            raise SpecError(f"--set {pair}: true or false, not {text!r}") from None
        except ValueError as error:
            raise SpecError(f"--set {pair}: {error}") from error
    return replace(config, **values)
