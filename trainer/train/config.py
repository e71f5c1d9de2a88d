"""The settings of a training run: frozen, checked, written beside its results.

Two named recipes fill them in: `paper`, as printed, and `best`, ours, which made the shipped model. What `best` rests
on: validation ROC-AUC (all / real / rendered clips) of runs on the corpus of the shipped model, one seed each, so
differences below 0.003 say little.

    3 x 256 units, 24 epochs, rate 2e-3, two augmented passes       0.956 / 0.904 / 0.973
    the same, compression none                                      0.955
    the same, loudness changes of 2 dB instead of 6                 0.955 / 0.907 / 0.973
    5 x 512, 20 of 24 epochs, rate 1e-3, one augmented pass         0.947 / 0.898 / 0.961
    5 x 512, 65 of 100 epochs, rate 1.5e-3, eight augmented passes  0.957 / 0.911 / 0.977 (epoch 53, the best)
    begun with its weights: 14 epochs, rate 4e-4, loudness 2 dB, dropout 0.5, average over fewer steps (0.99):
      two augmented passes                                          0.956 / 0.913 / 0.973
      eight augmented passes                                        0.956 / 0.910 / 0.976
    the mean of the last three's weights: the shipped model         0.956 / 0.911 / 0.976
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from streamtag.errors import SpecError
from streamtag.spec import NormalizationSpec
from trainer.systems import System, named

SCHEDULES = ("cosine", "exponential")
PRECISIONS = ("bfloat16", "float32")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Probabilities and shares lie in [0, 1]; times are in seconds."""

    system: str = "Scat-5L-512H-GRU"
    compression: str = "log"  # of scattering features; `none` is the paper's
    # the optimiser: AdamW (Adam without weight_decay), linear warm-up, then the schedule
    epochs: int = 200
    batch: int = 64  # clips a step, over all processes
    rate: float = 1e-3
    schedule: str = "cosine"  # down to zero, or exponential down to last_rate
    last_rate: float = 0.1  # what exponential decay leaves of the rate at the end
    warmup: int = 200  # steps
    weight_decay: float = 0.02
    beta_2: float = 0.98  # Adam's memory of squared gradients
    clip_norm: float = 1.0  # gradients of recurrent networks explode now and then
    dropout: float = 0.3  # between the layers
    recurrent_dropout: float = 0.0  # without memory loss; slower on a GPU, where cuDNN has none
    input_dropout: float = 0.1  # of features, for a whole sequence: no tag may hang on one band
    ema: float = 0.998  # of the weights, per step; validation and export use the averaged ones
    patience: int = 60  # epochs without a better validation score before it stops
    precision: str = "bfloat16"  # of matrix products; weights, states and gradients' sums stay float32
    seed: int = 1
    # the targets
    modulation: float = 0.5  # how far frame targets follow the window targets; 0: the clip's mean everywhere
    lag_s: float = 0.75  # frame targets trail the windows' centres by this, since the future is not heard yet
    ramp_s: float = 3.0  # of a clip in which frames count less, since little was heard ...
    ramp_from: float = 0.2  # ... beginning with this weight
    clip_loss: float = 0.5  # weight of the loss of the clip's mean probability, by which it is judged
    # the sequences: what one listener hears, cut into stretches through which gradients go back
    frames: int = 114  # of a stretch
    carry: float = 0.25  # share of clips after whose end the next is heard in the state they left, as when served
    cut: float = 0.15  # share of clips that are left for the next before their end: the last song must be let go
    mixup: float = 0.3  # share of sequences blended with another one: softer targets, against learning by heart
    # changes of the features, on top of the cache's changes of the audio
    gain_db: float = 6.0  # standard deviation of the loudness: recordings differ in it, tags should not
    tilt_db: float = 0.8  # standard deviation of the spectral tilt per octave: so do loudspeakers and rooms
    noise: float = 0.2  # standard deviation, in standardised units: small differences mean nothing
    time_masks: int = 2  # stretches that are not heard (SpecAugment): tags are to rest on more than one moment
    path_masks: int = 2  # neighbouring features that are not heard: nor on one band

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
        for name in ("weight_decay", "lag_s", "ramp_s", "clip_loss", "gain_db", "tilt_db", "noise"):
            self._check(getattr(self, name) >= 0, f"{name} must not be negative")
        for name in ("time_masks", "path_masks"):
            value = getattr(self, name)
            self._check(isinstance(value, int) and value >= 0, f"{name} must be a whole number, not {value!r}")
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            self._check(getattr(self, name) in known, f"{name} must be one of {', '.join(known)}")
        _ = self.normalization
        from_silence = self.plan.cell != "BN-LSTM" or self.carry == 0.0
        self._check(from_silence, "carry must be 0 for a BN-LSTM: its statistics belong to a frame since the beginning")

    def _check(self, ok: bool, message: str) -> None:
        if not ok:
            raise SpecError(f"TrainConfig: {message}")

    @property
    def normalization(self) -> NormalizationSpec:
        return NormalizationSpec.from_dict({**NormalizationSpec().to_dict(), "compression": self.compression})

    @property
    def plan(self) -> System:
        """The system that is trained."""
        return named(self.system)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises SpecError if a field is missing or unknown."""
        wrong = sorted(set(values) ^ {f.name for f in fields(cls)})
        if wrong:
            raise SpecError(f"TrainConfig: missing or unknown fields: {', '.join(wrong)}")
        return cls(**values)


def with_settings(config: TrainConfig, pairs: list[str]) -> TrainConfig:
    """The config with `NAME=VALUE` words in place. Raises SpecError for what is none."""
    kinds = {f.name: type(getattr(config, f.name)) for f in fields(config)}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in kinds:
            raise SpecError(f"--set {pair}: not NAME=VALUE with one of: {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            raise SpecError(f"--set {pair}: {error}") from error
    return replace(config, **values)
