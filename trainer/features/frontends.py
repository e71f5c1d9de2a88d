"""Front ends by name: what a system hears instead of samples.

    scattering   374 paths, a frame each 4096 samples, from streamtag.model
    mel          logarithm of the amplitude in 96 mel bands, n_fft 512, a frame each 256 samples (Song et al. 2018)
    cqt          logarithm of the amplitude in 84 bins, 12 an octave from C1 on, a frame each 256 samples

Mel and CQT come from nnAudio: it is torch alone (0.4 MB, librosa brings half a gigabyte with numba), runs on the GPU in
batches, and computes the same: log-mel equals librosa's to 6e-7, the CQT to 2.5 % of the norm (measured on a clip of
music; librosa halves the rate octave by octave, nnAudio takes every bin at the full rate). The price is the CPU: 9 ms a
clip for mel and 88 ms for CQT on one core, where librosa takes 5 and 28 and the scattering transform 30.

In every front end frame k is centred at sample hop·k, there is silence before the first and after the last sample, and
a signal has the frames whose centres lie inside it. So a batch may be padded with zeros and cut afterwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model import Scattering
from streamtag.model.filterbank import FilterBank
from streamtag.spec import ScatteringSpec


@dataclass(frozen=True)
class MelSpec:
    """floor: the amplitude below which is silence; else a digital zero would be minus infinity."""

    sample_rate: int = 16000
    bins: int = 96
    n_fft: int = 512
    hop: int = 256
    floor: float = 1e-5

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CqtSpec:
    """lowest_hz: C1. floor: as for mel."""

    sample_rate: int = 16000
    bins: int = 84
    bins_per_octave: int = 12
    lowest_hz: float = 32.703195662574829
    hop: int = 256
    floor: float = 1e-5

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Frontend:
    """size: features of a frame. scale: they are multiplied by it before they are stored as float16."""

    name: str
    spec: ScatteringSpec | MelSpec | CqtSpec
    size: int
    scale: float

    @property
    def sample_rate(self) -> int:
        return self.spec.sample_rate

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.spec.hop / self.spec.sample_rate

    def frame_count(self, samples: int) -> int:
        """Frames of a whole signal: those whose centre lies inside it."""
        return -(-samples // self.spec.hop)

    def compute(self, audio: Tensor) -> Tensor:
        """[N, T] at `sample_rate` Hz -> [N, F, size], on the device of the audio, without gradients."""
        with torch.inference_mode():
            frames: Tensor = _transform(self.spec, str(audio.device))(audio)
        return frames[:, : self.frame_count(audio.shape[-1])]


class _LogAmplitude(nn.Module):
    """A transform of nnAudio [N, T] -> [N, size, F] as logarithms of amplitudes [N, F, size].

    power: 2 if it gives squares of amplitudes.
    """

    def __init__(self, transform: nn.Module, power: float, floor: float) -> None:
        super().__init__()
        self.transform, self.power, self.floor = transform, power, floor

    def forward(self, audio: Tensor) -> Tensor:
        values: Tensor = self.transform(audio)
        return values.clamp(min=self.floor**self.power).log().div(self.power).transpose(1, 2)


@lru_cache(maxsize=8)
def _transform(spec: ScatteringSpec | MelSpec | CqtSpec, device: str) -> nn.Module:
    if isinstance(spec, ScatteringSpec):
        return Scattering(spec).eval().to(device)
    common = {"sr": spec.sample_rate, "hop_length": spec.hop, "pad_mode": "constant", "verbose": False}
    if isinstance(spec, MelSpec):
        mel = _nnaudio("mel").MelSpectrogram(n_fft=spec.n_fft, n_mels=spec.bins, **common)
        return _LogAmplitude(mel, 2.0, spec.floor).eval().to(device)
    cqt = _nnaudio("cqt").CQT1992v2(
        fmin=spec.lowest_hz, n_bins=spec.bins, bins_per_octave=spec.bins_per_octave, **common
    )
    return _LogAmplitude(cqt, 1.0, spec.floor).eval().to(device)


def _nnaudio(module: str) -> Any:
    try:
        return import_module(f"nnAudio.features.{module}")
    except ImportError as error:
        raise SpecError(f"mel and cqt need nnAudio: pip install 'streamtag[train]' ({error})") from error


def _front_ends(scattering: ScatteringSpec, mel: MelSpec, cqt: CqtSpec) -> dict[str, Frontend]:
    """Scattering is stored as amplitude times 4096: a relative error of at most 2^-11 = 4.9e-4 for amplitudes from
    1.5e-8 to 16, where full scale is 1. Logarithms, as they are, lie between -11.5 and about 6, where float16 errs by
    up to 4e-3 (0.03 dB)."""
    paths = FilterBank.build(scattering).path_count
    fronts = (
        Frontend("scattering", scattering, paths, 4096.0),
        Frontend("mel", mel, mel.bins, 1.0),
        Frontend("cqt", cqt, cqt.bins, 1.0),
    )
    return {front.name: front for front in fronts}


FRONTENDS = _front_ends(ScatteringSpec(), MelSpec(), CqtSpec())


def frontend(name: str) -> Frontend:
    """Raises SpecError for a name that is none."""
    if name not in FRONTENDS:
        raise SpecError(f"no front end {name!r}, only: {', '.join(FRONTENDS)}")
    return FRONTENDS[name]
