"""Log-mel spectrograms and constant-Q transforms of an endless signal, hop by hop, and of a whole signal.

Frame m is centred at sample spacing·m. With the usual settings (spacing 256, hop 4096, look-ahead 6144 samples) a hop
completes 16 frames, and output k reads the frames up to the newest one that is complete at sample 4096 k + 6144:

    mel   a frame needs 256 samples after its centre:    frames up to 16 k + 23; output 0 reads frames 0 to 23
    CQT   the longest kernel reaches 4114 samples ahead: frames up to 16 k + 7;  output 0 reads frames 0 to 7

Values equal those of nnAudio (MelSpectrogram, CQT1992v2), and so do the filters, which are computed in float64.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.model.front_end import FrontEnd, FrontEndState
from streamtag.spec import CqtSpec, MelSpec, SpectrogramSpec

MAX_HOPS = 16  # of all streams that are computed at once: on a CPU their intermediate tensors should fit its caches

Spec = TypeVar("Spec", bound=SpectrogramSpec)


@dataclass(frozen=True, kw_only=True)
class SpectrogramState(FrontEndState):
    """skip: frames below 0 that the next hops complete, and that are left out (the same for all streams)."""

    skip: int = 0


class Spectrogram(FrontEnd[SpectrogramState], Generic[Spec]):
    """Logarithms of amplitudes, audio [N, T] -> [N, F, bins]. Ends with the last frame that the last output reads."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec: Spec = spec
        self.path_count = spec.bins
        first_sample = spec.step * spec.first_frame - spec.frames_after  # of a hop's frames, from the hop's number on
        self.tail = spec.lookahead - spec.hop - first_sample

    @abstractmethod
    def amplitudes(self, audio: Tensor) -> Tensor:
        """Return amplitudes [N, F, bins]: audio begins where the first frame does."""

    def initial_state(self, streams: int) -> SpectrogramState:
        device = next(self.buffers()).device
        return SpectrogramState(
            recent=torch.zeros(streams, self.start, device=device),
            index=torch.full((streams,), -1, device=device),
            skip=self.spec.frames_per_hop - self.spec.first_frame,
        )

    def state_between_hops(self, streams: int) -> SpectrogramState:
        return replace(super().state_between_hops(streams), skip=0)

    @torch.no_grad()
    def step(self, audio: Tensor, state: SpectrogramState) -> tuple[Tensor, SpectrogramState]:
        audio = torch.cat([state.recent, audio], dim=-1)
        hops = max(0, audio.shape[-1] - self.tail) // self.spec.hop
        frames, skipped = self._features(audio, hops), min(state.skip, hops * self.spec.frames_per_hop)
        state = SpectrogramState(
            recent=audio[:, hops * self.spec.hop :].clone(),
            index=state.index + hops,
            warm=state.warm or hops > 0,
            skip=state.skip - skipped,
        )
        return frames[:, skipped:], state

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        first, state = self.step(audio, self.initial_state(len(audio)))
        return torch.cat([first, self.flush(state)[0]], dim=1)

    def _features(self, audio: Tensor, hops: int) -> Tensor:
        """Return the frames [N, hops * frames_per_hop, bins] of the first hops of audio [N, t]."""
        hop, per_hop = self.spec.hop, self.spec.frames_per_hop
        frames, at_once = [audio.new_empty(len(audio), 0, self.path_count)], max(1, MAX_HOPS // max(1, len(audio)))
        for start in range(0, hops, at_once):
            end = min(hops, start + at_once)
            values = self.amplitudes(audio[:, start * hop : end * hop + self.tail])[:, : (end - start) * per_hop]
            frames.append(values.clamp_min(self.spec.floor).log())
        return torch.cat(frames, dim=1)


class LogMel(Spectrogram[MelSpec]):
    """Amplitudes in mel bands: roots of the energies of a Hann window's spectrum, weighted by triangles."""

    window: Tensor
    bands: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__(spec)
        self.register_buffer("window", _tensor(_hann(spec.n_fft)), persistent=False)
        self.register_buffer("bands", _tensor(mel_bands(spec)), persistent=False)

    def amplitudes(self, audio: Tensor) -> Tensor:
        windows = audio.unfold(-1, self.spec.n_fft, self.spec.step) * self.window
        spectrum = torch.fft.rfft(windows)
        energies = spectrum.real.square() + spectrum.imag.square()
        return torch.sqrt(energies @ self.bands)


class LogCqt(Spectrogram[CqtSpec]):
    """Amplitudes at frequencies that are a fraction of an octave apart, by one matrix product per octave."""

    def __init__(self, spec: CqtSpec) -> None:
        super().__init__(spec)
        for first in range(0, spec.bins, spec.bins_per_octave):
            self.register_buffer(f"kernels_{first}", _tensor(_octave(spec, first)), persistent=False)

    def amplitudes(self, audio: Tensor) -> Tensor:
        spec, parts = self.spec, []
        frames = 1 + (audio.shape[-1] - 2 * spec.frames_after) // spec.step
        for kernels in self.buffers():
            length = len(kernels)
            windows = audio[:, spec.frames_after - length // 2 :].unfold(-1, length, spec.step)[:, :frames]
            parts.append(torch.matmul(windows, kernels))
        real, imaginary = torch.cat(parts, dim=-1).view(*parts[0].shape[:2], -1, 2).unbind(-1)
        return torch.hypot(real, imaginary)


def _octave(spec: CqtSpec, first: int) -> NDArray[np.float64]:
    """Return kernels [length, 2 * bins] of the octave from a bin on, real and imaginary parts in turn.

    Brown and Puckette 1992, "An efficient algorithm for the calculation of a constant Q transform", with the gain of
    librosa and nnAudio: the amplitudes of a kernel add up to the root of its length.
    """
    bins = range(first, min(first + spec.bins_per_octave, spec.bins))
    half = (spec.lengths[first] + 1) // 2
    kernels = np.zeros((2 * half, len(bins), 2))
    for column, n in enumerate(bins):
        length, begin = spec.lengths[n], -((spec.lengths[n] + 1) // 2)
        times, window = np.arange(begin, begin + length), _hann(spec.lengths[n])
        kernel = window * np.exp(2j * np.pi * spec.frequencies[n] / spec.sample_rate * times)
        kernel *= math.sqrt(length) / np.abs(kernel).sum()
        kernels[half + times, column] = np.stack([kernel.real, kernel.imag], axis=-1)
    return kernels.reshape(2 * half, -1)


def mel_bands(spec: MelSpec) -> NDArray[np.float64]:
    """Return the weights [n_fft / 2 + 1, bins] of energies: triangles of equal area between neighbouring centres."""
    edges = mel_edges(spec)
    hz = np.arange(spec.n_fft // 2 + 1)[:, np.newaxis] * (spec.sample_rate / spec.n_fft)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre))
    weights: NDArray[np.float64] = np.maximum(triangles, 0.0) * 2.0 / (high - low)
    return weights


def mel_edges(spec: MelSpec) -> NDArray[np.float64]:
    """Return the frequencies [bins + 2] at which bands begin, have their centre and end, in Hz.

    Slaney's mel scale, as in librosa: steps of 200/3 Hz up to 1 kHz, then 27 steps for a factor of 6.4.
    """
    top = 15.0 + 27.0 * np.log(spec.sample_rate / 2000.0) / np.log(6.4)
    steps = np.linspace(0.0, top, spec.bins + 2)
    return np.where(steps < 15.0, steps * 200.0 / 3.0, 1000.0 * 6.4 ** ((steps - 15.0) / 27.0))


def _hann(length: int) -> NDArray[np.float64]:
    """Return a periodic Hann window."""
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi / length * np.arange(length))
    return window


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
