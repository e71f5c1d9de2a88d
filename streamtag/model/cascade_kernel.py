"""The cascade in compiled code, for a CPU: all stages of a window in one call.

Eight rows of a stage are transformed at once, and their crops, magnitudes and sums are computed while they are in the
cache. PyTorch takes one row at a time through memory, and a call per step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamtag.model.cascade import Cascade
from streamtag.model.filterbank import Floats
from streamtag.model.wavelet_modulus import Crops, LowPass

if TYPE_CHECKING:
    from streamtag.model._cascade import Branch, Stage

try:
    from streamtag.model._cascade import run as run_cascade
    from streamtag.model._cascade import step as step_cascade
except ImportError:  # built without a compiler: PyTorch computes the same
    COMPILED = False
else:
    COMPILED = True

ENVELOPES, SPECTRA, GIVEN, REAL_ROWS = range(4)  # kinds of stages, see _cascade.c
RADICES = 5, 3, 4, 2
LANES = 8  # rows that are transformed at once
MIN_WINDOWS_PER_THREAD = 4
Floats32 = npt.NDArray[np.float32]
NOTHING: Floats32 = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class CascadeKernel:
    """Two orders of wavelet moduli over windows of audio, and low-passed rows of their spectra."""

    branch: Branch
    given_points: int  # of the envelopes that are inputs, in all
    rows: tuple[tuple[int, int], ...]  # bands and points of each low-pass

    @classmethod
    def build(
        cls,
        cascade: Cascade,
        mean: Floats32 = NOTHING,
        of_spectrum: Sequence[LowPass] = (),
        of_pool: Sequence[LowPass] = (),
    ) -> CascadeKernel | None:
        """Return a cascade and low-passes in compiled code; None if this installation has none.

        mean: weights of the audio itself [C, samples], for a path before all others; empty: there is none.
        """
        if not COMPILED:
            return None
        stages, path, start = [], int(mean.size > 0), 0
        for modulus in cascade.first:
            bands, size = modulus.responses.shape
            stages.append(_crops(SPECTRA, modulus, weights=modulus.weights.numpy(), path=path, output=start))
            path, start = path + bands, start + bands * (size // 2 + 1)
        if cascade.external[0]:
            bands, size = cascade.external
            stages.append(_stage(GIVEN, size, bands, output=start))
            start += bands * (size // 2 + 1)
        for modulus in cascade.second:
            stages.append(_crops(ENVELOPES, modulus, from_pool=1, weights=modulus.weights.numpy(), path=path))
            path += len(modulus.responses)
        rows, output = [], 0
        for from_pool, low_pass in (*((0, x) for x in of_spectrum), *((1, x) for x in of_pool)):
            stages.append(_crops(REAL_ROWS, low_pass, from_pool=from_pool, output=output))
            rows.append((len(low_pass.responses), low_pass.size))
            output += math.prod(rows[-1])
        columns = len(cascade.first[0].weights)
        branch = tuple(stages), _window(cascade.geometry.length), mean, start, path, columns, output
        return cls(branch, math.prod(cascade.external), tuple(rows))

    def run(self, audio: Tensor, given: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Return the sums [B, paths, C], and the rows [B, K, M] of each low-pass.

        audio [B, n] of the windows, silent after that; given: envelopes [B, K, size]. Many windows use PyTorch's
        number of threads.
        """
        windows, samples = audio.shape
        paths, columns, points = self.branch[-3:]
        sums, rows = torch.empty(windows, paths, columns), torch.empty(windows, points)
        run_cascade(
            self.branch,
            audio.contiguous().numpy(),
            NOTHING if given is None else given.contiguous().numpy(),
            sums.numpy(),
            rows.numpy(),
            windows,
            samples,
            self.given_points,
            min(torch.get_num_threads(), windows // MIN_WINDOWS_PER_THREAD),
        )
        split = rows.split_with_sizes([math.prod(shape) for shape in self.rows], 1) if self.rows else ()
        return sums, [part.view(windows, *shape) for part, shape in zip(split, self.rows, strict=True)]


@dataclass(frozen=True, eq=False)
class StepKernel:
    """The step of the scattering transform: both branches, and the states of streams between them."""

    branches: tuple[Branch, Branch]  # high, low
    plan: tuple[bytes, Floats32, npt.NDArray[np.int32], int, int, int, int, int, int]

    def run(
        self, audio: Tensor, hops: int, sums: Tensor, bands: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the frames [N, hops, paths], and the new sums, bands and audio of a ScatteringState.

        audio [N, n]: window n of a stream begins n hops after its first sample. Many streams use PyTorch's number of
        threads.
        """
        streams, samples = audio.shape
        frames = torch.empty(streams, hops, len(self.plan[2]))
        sums, bands, past = sums.clone(), bands.clone(), past.clone()
        step_cascade(
            self.branches,
            self.plan,
            audio.numpy(),
            sums.numpy(),
            bands.numpy(),
            past.numpy(),
            frames.numpy(),
            streams,
            hops,
            samples,
            min(torch.get_num_threads(), streams // MIN_WINDOWS_PER_THREAD),
        )
        return frames, sums, bands, past


def _crops(kind: int, crops: Crops, **fields: Any) -> Stage:
    """Return the stage of a set of crops of one length."""
    responses = crops.responses
    where = np.array([(c.spectrum.start, c.spectrum.size, c.low) for c in crops.crops], dtype=np.int32)
    if isinstance(crops, LowPass):  # the compiled code also takes the conjugates, from -size / 2 on
        responses = np.concatenate([responses[:, :0:-1], responses[:, :-1]], axis=1)
        where[:, 2] = -(crops.size // 2)
    bands, size = responses.shape
    # its inverse transform does not divide by the size, and it reads whole vectors
    padded = np.append((responses / size).astype(np.float32), np.zeros(8, dtype=np.float32))
    return _stage(kind, size, bands, crops=where, responses=padded, **fields)


def _stage(
    kind: int,
    size: int,
    bands: int,
    *,
    from_pool: int = 0,
    crops: npt.NDArray[np.int32] | None = None,
    responses: Floats32 = NOTHING,
    weights: Floats32 = NOTHING,
    path: int = 0,
    output: int = 0,
) -> Stage:
    """Return a stage as the compiled code expects it; what a kind does not need is empty."""
    where = NOTHING if crops is None else crops
    real = *_plan(size // 2), _turns(np.arange(size // 2 + 1), size)
    return kind, from_pool, size, bands, where, responses, weights, path, output, _plan(size), real


def _window(size: int) -> tuple[int, bytes, npt.NDArray[np.complex64], npt.NDArray[np.complex64], Floats32]:
    """Return the transform of a window of `size` samples: of every eighth sample, and how their spectra are joined."""
    row = size // LANES
    bins = np.arange(row // 2 // LANES * LANES + LANES)
    turns = _turns(np.outer(np.arange(LANES), bins), size)
    return size, *_plan(row // 2), _turns(np.arange(row // 2 + 1), row), np.stack([turns.real, turns.imag])


def _plan(size: int) -> tuple[bytes, npt.NDArray[np.complex64]]:
    """Return the radices of a Stockham transform, and the factors of each pass: exp(-2πi p k / length).

    Raises ValueError if the size has a divisor other than 2, 3 and 5; no specification leads to one.
    """
    radices, factors, length = [], [], size
    for radix in RADICES:
        while length % radix == 0:
            factors.append(_turns(np.outer(np.arange(length // radix), np.arange(1, radix)), length).ravel())
            radices.append(radix)
            length //= radix
    if length != 1:
        raise ValueError(f"a row of {size} points")
    return bytes(radices), np.concatenate(factors)


def _turns(steps: Floats | npt.NDArray[np.int64], size: int) -> npt.NDArray[np.complex64]:
    """Return exp(-2πi steps / size)."""
    turns: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * steps / size)
    return turns.astype(np.complex64)
