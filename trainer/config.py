"""The settings of a training run: frozen, checked, written beside its results.

What the defaults rest on: validation ROC-AUC (all / real / rendered clips) of runs on the corpus of the shipped
model, one seed each, so differences below 0.003 say little.

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

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from streamtag.errors import SpecError
from streamtag.spec import NetworkSpec, NormalizationSpec


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Probabilities and shares lie in [0, 1]; times are in seconds."""

    # the network
    hidden: int = 512
    layers: int = 5
    compression: str = "log"
    # the optimiser: AdamW, linear warm-up, cosine decay to zero
    epochs: int = 200
    batch: int = 64  # clips a step
    rate: float = 1e-3
    warmup: int = 200  # steps
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    dropout: float = 0.3  # between the layers, one mask a clip
    input_dropout: float = 0.1
    ema: float = 0.998  # of the weights, per step; validation and export use the averaged ones
    patience: int = 60  # epochs without a better validation score before it stops
    seed: int = 1
    # the targets
    modulation: float = 0.5  # how far frame targets follow the window targets; 0: the clip's mean everywhere
    lag_s: float = 0.75  # frame targets trail the windows' centres by this, since the future is not heard yet
    ramp_s: float = 3.0  # of a clip in which frames count less ...
    ramp_from: float = 0.2  # ... beginning with this weight
    clip_loss: float = 0.5  # weight of the loss of the clip's mean probability
    # the sequences
    frames: int = 114  # of one training sequence
    carry: float = 0.25  # share of sequences that start in the state the previous clip left
    cut: float = 0.15  # share of sequences that change to another clip on the way
    mixup: float = 0.3  # share of sequences that are blended with another one
    # changes of the features, on top of the cache's changes of the audio
    gain_db: float = 6.0  # standard deviation of the loudness
    tilt_db: float = 0.8  # standard deviation of the spectral tilt per octave
    noise: float = 0.2  # standard deviation, in standardised units
    time_masks: int = 2
    path_masks: int = 2

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "frames", "warmup", "patience"):
            value = getattr(self, name)
            self._check(isinstance(value, int) and value > 0, f"{name} must be a positive whole number, not {value!r}")
        for name in ("dropout", "input_dropout", "ema", "modulation", "ramp_from", "carry", "cut", "mixup"):
            self._check(0.0 <= getattr(self, name) <= 1.0, f"{name} must lie between 0 and 1")
        for name in ("rate", "clip_norm"):
            self._check(getattr(self, name) > 0.0, f"{name} must be above 0")
        unsigned = (
            "weight_decay",
            "lag_s",
            "ramp_s",
            "clip_loss",
            "gain_db",
            "tilt_db",
            "noise",
            "time_masks",
            "path_masks",
        )
        for name in unsigned:
            self._check(getattr(self, name) >= 0, f"{name} must not be negative")
        self._check(max(self.dropout, self.input_dropout, self.ema) < 1.0, "dropout and ema must be below 1")
        _ = self.normalization, self.network(1)

    def _check(self, ok: bool, message: str) -> None:
        if not ok:
            raise SpecError(f"TrainConfig: {message}")

    @property
    def normalization(self) -> NormalizationSpec:
        return NormalizationSpec.from_dict({**NormalizationSpec().to_dict(), "compression": self.compression})

    def network(self, outputs: int) -> NetworkSpec:
        return NetworkSpec(hidden=self.hidden, layers=self.layers, outputs=outputs)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises SpecError if a field is missing or unknown."""
        wrong = sorted(set(values) ^ {f.name for f in fields(cls)})
        if wrong:
            raise SpecError(f"TrainConfig: missing or unknown fields: {', '.join(wrong)}")
        return cls(**values)


def parse_settings(pairs: list[str]) -> TrainConfig:
    """`NAME=VALUE` words as a TrainConfig. Raises SpecError for what is none."""
    kinds = {f.name: type(getattr(TrainConfig(), f.name)) for f in fields(TrainConfig)}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in kinds:
            raise SpecError(f"--set {pair}: not NAME=VALUE with one of: {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            raise SpecError(f"--set {pair}: {error}") from error
    return TrainConfig(**values)
