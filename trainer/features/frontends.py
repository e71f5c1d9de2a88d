"""Frontends by name: the features that a system reads instead of samples, and their normalization.

    scattering   374 paths, a frame per 4096 samples, from streamtag.model
    mel          logarithm of the amplitude in 96 mel bands, n_fft 512, a frame per 256 samples (Song et al. 2018)
    cqt          logarithm of the amplitude in 84 bins, 12 per octave from C1 on, a frame per 256 samples

Mel and CQT come from nnAudio, which needs torch alone (librosa brings half a gigabyte with numba), runs on the GPU in
batches, and computes the same: log-mel equals librosa's to 6e-7, the CQT to 2.5 % of the norm (measured on a clip of
music). It is slower on the CPU: 9 ms per clip for mel and 88 ms for CQT on one core, where librosa takes 5 and 28 and
the scattering transform 30.

In every frontend frame k is centred at sample step·k, the signal is zero before its first and after its last sample,
and it has the frames whose centres lie inside it. So a batch may be padded with zeros and cut afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model import make_front_end
from streamtag.model.filterbank import FilterBank
from streamtag.model.normalization import Normalization, Normalizer, Standardization
from streamtag.model.spectrogram import mel_edges
from streamtag.spec import CqtSpec, FrontEndSpec, MelSpec, NormalizationSpec, ScatteringSpec
from trainer.data.manifest import Array

NEPERS_PER_DB = float(np.log(10.0) / 20.0)


@dataclass(frozen=True)
class Frontend:
    """A named feature extractor: `size` features per frame, multiplied by `scale` before storing them as float16."""

    name: str
    spec: FrontEndSpec
    size: int
    scale: float

    @property
    def sample_rate(self) -> int:
        return self.spec.sample_rate

    @property
    def hop_s(self) -> float:
        """Return the seconds from one frame to the next."""
        return self.spec.step / self.spec.sample_rate

    @property
    def lookahead_s(self) -> float:
        """Return the seconds of audio after its centre that a frame needs: half the longest window of a spectrogram."""
        return self.spec.frames_after / self.spec.sample_rate

    def frame_count(self, samples: int) -> int:
        """Return the number of frames of a whole signal: those whose centres lie inside it."""
        return -(-samples // self.spec.step)

    def compute(self, audio: Tensor) -> Tensor:
        """Transform audio [N, T] at `sample_rate` Hz into [N, F, size], on the audio's device, without gradients."""
        with torch.inference_mode():
            frames: Tensor = _transform(self.spec, str(audio.device))(audio)
        return frames[:, : self.frame_count(audio.shape[-1])]


class _LogAmplitude(nn.Module):
    """Logarithms of amplitudes [N, F, size] from a transform of nnAudio, [N, T] -> [N, size, F].

    `power` is 2 if the transform gives squared amplitudes.
    """

    def __init__(self, transform: nn.Module, power: float, floor: float) -> None:
        super().__init__()
        self.transform, self.power, self.floor = transform, power, floor

    def forward(self, audio: Tensor) -> Tensor:
        values: Tensor = self.transform(audio)
        return values.clamp(min=self.floor**self.power).log().div(self.power).transpose(1, 2)


@lru_cache(maxsize=8)
def _transform(spec: FrontEndSpec, device: str) -> nn.Module:
    common = {"sr": spec.sample_rate, "hop_length": spec.step, "pad_mode": "constant", "verbose": False}
    if isinstance(spec, MelSpec):
        mel = _nnaudio("mel").MelSpectrogram(n_fft=spec.n_fft, n_mels=spec.bins, **common)
        return _LogAmplitude(mel, 2.0, spec.floor).eval().to(device)
    if isinstance(spec, CqtSpec):
        bins = {"fmin": spec.lowest_hz, "n_bins": spec.bins, "bins_per_octave": spec.bins_per_octave}
        return _LogAmplitude(_nnaudio("cqt").CQT1992v2(**bins, **common), 1.0, spec.floor).eval().to(device)
    return make_front_end(spec).eval().to(device)


def _nnaudio(module: str) -> Any:
    try:
        return import_module(f"nnAudio.features.{module}")
    except ImportError as error:
        raise SpecError(f"mel and cqt need nnAudio: pip install 'streamtag[train]' ({error})") from error


def _frontends(scattering: ScatteringSpec, mel: MelSpec, cqt: CqtSpec) -> dict[str, Frontend]:
    """Build the table of frontends.

    Scattering is stored as amplitude times 4096, with a relative error of at most 2^-11 = 4.9e-4 for amplitudes from
    1.5e-8 to 16 (full scale is 1). Logarithms lie between -11.5 and about 6, with an error of up to 4e-3 (0.03 dB).
    """
    paths = FilterBank.build(scattering).path_count
    fronts = (
        Frontend("scattering", scattering, paths, 4096.0),
        Frontend("mel", mel, mel.bins, 1.0),
        Frontend("cqt", cqt, cqt.bins, 1.0),
    )
    return {front.name: front for front in fronts}


FRONTENDS = _frontends(ScatteringSpec(), MelSpec(), CqtSpec())


def frontend(name: str) -> Frontend:
    """Return a frontend by name. Raises SpecError for an unknown name."""
    if name not in FRONTENDS:
        raise SpecError(f"no front end {name!r}, only: {', '.join(FRONTENDS)}")
    return FRONTENDS[name]


def normalizer(front: str, spec: NormalizationSpec) -> Normalizer:
    """Return the unfitted normalization of a frontend. Spectrograms are logarithms already and ignore `compression`."""
    chosen = frontend(front)
    return Normalization(spec, chosen.spec) if front == "scattering" else Standardization(chosen.size)  # type: ignore[arg-type]


def fit(normalize: Normalizer, clips: Iterable[Array]) -> None:
    """Set the mean and standard deviation to those of all frames of the clips [F, P]."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for frames in clips:
        raw = normalize.raw(torch.from_numpy(frames)).double()
        count, total, squares = count + len(raw), total + raw.sum(0), squares + (raw**2).sum(0)
    mean = total / count
    normalize.fit(mean.float(), (squares / count - mean**2).clamp(min=0.0).sqrt().float())


def level_offsets(front: Frontend, std: Array, normalization: NormalizationSpec) -> Array:
    """Return [2, P]: what +1 dB, and +1 dB per octave above 1 kHz, add to features that were divided by `std` [P].

    S2 is a ratio to S1 and does not change, nor does S1 as one to S0. Without logarithms loudness is a factor, not an
    offset: zeros.
    """
    size = len(std)
    follows_level = np.ones(size, dtype=np.bool_)
    if isinstance(front.spec, ScatteringSpec):
        if normalization.compression == "none":
            return np.zeros((2, size), dtype=np.float32)
        bank = FilterBank.build(front.spec)
        follows_level[1 if normalization.divide_s1 else 1 + len(bank.first) :] = False
        octaves = np.zeros(size)  # S0 has no frequency
        octaves[1 : 1 + len(bank.first)] = np.log2([psi.xi * front.sample_rate / 1000.0 for psi in bank.first])
    else:
        octaves = np.log2(centres_hz(front.spec) / 1000.0)
    nepers = np.where(follows_level, NEPERS_PER_DB / std, 0.0)
    return np.stack([nepers, nepers * octaves]).astype(np.float32)


def centres_hz(spec: FrontEndSpec) -> NDArray[np.float64]:
    """Return the centre frequencies [bins] of a spectrogram's bands."""
    return np.array(spec.frequencies) if isinstance(spec, CqtSpec) else mel_edges(cast(MelSpec, spec))[1:-1]
