"""What louder or brighter sound adds to the features of each front end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtag.model.filterbank import FilterBank
from streamtag.spec import ScatteringSpec
from trainer.data.manifest import Array
from trainer.features.frontends import CqtSpec, Frontend, MelSpec

NEPERS = float(np.log(10.0) / 20.0)  # of a decibel


def level_offsets(front: Frontend, std: Array, compression: str) -> Array:
    """[2, P]: what +1 dB, and +1 dB per octave above 1 kHz, add to features that were divided by `std`.

    S2 is a ratio to S1 and stays. Without logarithms a louder sound is a factor, not a sum: zeros.
    """
    size = len(std)
    levelled = np.ones(size, dtype=np.bool_)
    if isinstance(front.spec, ScatteringSpec):
        if compression == "none":
            return np.zeros((2, size), dtype=np.float32)
        bank = FilterBank.build(front.spec)
        levelled[1 + len(bank.first) :] = False
        octaves = np.zeros(size)  # of S0, which is no band, none
        octaves[1 : 1 + len(bank.first)] = np.log2([psi.xi * front.sample_rate / 1000.0 for psi in bank.first])
    else:
        octaves = np.log2(centres_hz(front.spec) / 1000.0)
    nepers = np.where(levelled, NEPERS / std, 0.0)
    return np.stack([nepers, nepers * octaves]).astype(np.float32)


def centres_hz(spec: MelSpec | CqtSpec) -> NDArray[np.float64]:
    """[bins]: of the bands of a spectrogram."""
    if isinstance(spec, CqtSpec):
        return np.asarray(spec.lowest_hz * 2.0 ** (np.arange(spec.bins) / spec.bins_per_octave))
    # Slaney's mel scale, as in nnAudio and librosa: 200/3 Hz a step up to 1 kHz, then 27 steps for a factor of 6.4
    highest = 15.0 + 27.0 * np.log(spec.sample_rate / 2000.0) / np.log(6.4)
    steps = np.linspace(0.0, highest, spec.bins + 2)[1:-1]
    return np.asarray(np.where(steps < 15.0, steps * 200.0 / 3.0, 1000.0 * 6.4 ** ((steps - 15.0) / 27.0)))
