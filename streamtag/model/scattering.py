"""The scattering transform of an endless signal, hop by hop, and of a whole signal.

A frame needs the envelopes within about ±2.5 hops of its centre, weighted by φ. Short and long wavelets are computed
separately:

    audio ─┬─► HighRateBranch: windows of 1.25 hops at the full rate, once per hop. Results are final except for the
           │   last margin. Only partial sums with φ are kept, for the hop's own frame and the next three.
           │        │ the envelopes of the same bands, at 1/32 of the rate
           └─ 1/8 ──┴─► LowRateBranch: windows of 5 hops, recomputed for every frame, cheap because of low rates.

The offline transform (`forward`) knows the audio
after a frame's look-ahead, the online transform (`step`) does not. Otherwise they differ by rounding and aliasing
only: 1e-3 of the norm. The slowest envelopes (ψ2 below 8 Hz, whose support is longer than the look-ahead) bring the
difference to 4e-3 in the second order of rhythmic music.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamtag.model.cascade_kernel import StepKernel
from streamtag.model.filterbank import FilterBank, fade_out
from streamtag.model.front_end import FrontEnd, FrontEndState
from streamtag.model.layout import AUDIO_RATE, BAND_RATE, HOPS_AFTER, HOPS_BEFORE, BandLengths, Layout
from streamtag.model.multirate import HighRateBranch, HighRateOutput, LowRateBranch
from streamtag.spec import ScatteringSpec

# windows computed at once, where all are known: on a CPU the intermediate tensors should fit its caches, a GPU
# should be full
MAX_CPU_WINDOWS, MAX_GPU_WINDOWS = 48, 1536
OFFLINE_FRAMES = 12  # that share a long window where all the audio is known

# Lengths of bands as fractions of a window, by order: few for a stream, since each length costs a dozen calls whatever
# its work; more for whole signals. Both ends of a hop must be points of the short windows, or its sums with φ are
# wrong by fractions of a point: lengths there are multiples of ten.
ONLINE_HIGH = (1 / 4, 1 / 8, 3 / 64), (1 / 8, 5 / 64, 5 / 128)
ONLINE_LOW = (1 / 64, 1 / 160), (1 / 64, 3 / 320, 3 / 640, 3 / 1280)
OFFLINE_HIGH = (1 / 4, 3 / 16, 1 / 8, 3 / 32, 1 / 16, 1 / 32), (1 / 8, 3 / 32, 1 / 16, 3 / 64, 1 / 32, 1 / 64)
OFFLINE_LOW = (1 / 64, 1 / 128, 1 / 256), (1 / 64, 1 / 128, 1 / 256, 1 / 512)

# columns of the hops' sums that make up a frame, from the newest hop on
ONLINE_COLUMNS = (5, 2, 3, 4)  # a frame whose own hop has just arrived
OFFLINE_COLUMNS = (0, 1, 2, 3, 4)  # a frame that waited for the hop after its own


@dataclass(frozen=True, kw_only=True)
class ScatteringState(FrontEndState):
    """Of the last three hops: sums [N, 3, paths, 6] with φ, and the content of the long windows, bands [N, K, 3h/32]
    and audio [N, 3h/8]; h is the hop in samples. `recent` has h/4 samples before those that do not fill a hop yet."""

    sums: Tensor
    bands: Tensor
    audio: Tensor


class Transform(nn.Module):
    """Both branches for bands of certain lengths, and the permutation of their paths to kymatio's order."""

    order: Tensor

    def __init__(self, layout: Layout, high: BandLengths, low: BandLengths, frames: int) -> None:
        super().__init__()
        self.high, self.low = HighRateBranch(layout, high), LowRateBranch(layout, low, frames)
        paths = [(), *((n,) for n in range(len(layout.bank.first))), *layout.bank.pairs]
        computed = [*self.high.paths, *self.low.paths]
        self.register_buffer("order", torch.tensor([computed.index(p) for p in paths]), persistent=False)

    def join(self, high: Tensor, low: Tensor) -> Tensor:
        """Return frames [..., paths] of both branches in kymatio's order."""
        return torch.cat([high, low], dim=-1)[..., self.order]


class Scattering(FrontEnd[ScatteringState]):
    """kymatio's Scattering1D(J, Q, T) with unit gain: one frame per hop, in kymatio's path order.

    Frame k is centred at sample hop·k. No gradient flows through it.
    """

    fade: Tensor

    def __init__(self, spec: ScatteringSpec) -> None:
        super().__init__()
        self.spec: ScatteringSpec = spec
        layout = Layout(spec, FilterBank.build(spec))
        self.block = layout.block
        self.tail = layout.block - spec.hop
        self.path_count = layout.bank.path_count
        self._layout = layout
        self.online = Transform(layout, ONLINE_HIGH, ONLINE_LOW, 1)
        self._offline: Transform | None = None  # built by the first `forward`, so that a stream starts sooner
        fade = np.ones((layout.hop + layout.margin) // AUDIO_RATE)  # of a hop and the margin that follows it
        end = fade_out(layout.margin // 2 // AUDIO_RATE)
        fade[-len(end) :] = end
        self.register_buffer("fade", torch.tensor(fade, dtype=torch.float32), persistent=False)
        self._kernel = self._step_kernel()

    def _step_kernel(self) -> StepKernel | None:
        """Return `step` in compiled code; None if this installation has none."""
        high, low, layout = self.online.high.kernel, self.online.low.kernel, self._layout
        if high is None or low is None:
            return None
        bands = len(self.online.high.cascade.spectra)
        order, margin, hop = self.online.order.numpy().astype(np.int32), layout.margin, layout.hop
        points = margin // AUDIO_RATE, hop // AUDIO_RATE, margin // BAND_RATE, hop // BAND_RATE
        return StepKernel(
            (high.branch, low.branch), (bytes(ONLINE_COLUMNS), self.fade.numpy(), order, hop, bands, *points)
        )

    @property
    def offline(self) -> Transform:
        if self._offline is None:
            self._offline = Transform(self._layout, OFFLINE_HIGH, OFFLINE_LOW, OFFLINE_FRAMES).to(self.fade.device)
        return self._offline

    def initial_state(self, streams: int) -> ScatteringState:
        return self._silence(streams, HOPS_BEFORE)

    def _silence(self, streams: int, hops: int) -> ScatteringState:
        hop, device = self.spec.hop, self.fade.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(streams, *shape, device=device)

        return ScatteringState(
            recent=zeros(self.start),
            sums=zeros(hops, len(self.online.high.paths), self.online.high.columns),
            bands=zeros(len(self.online.high.cascade.spectra), hops * hop // BAND_RATE),
            audio=zeros(hops * hop // AUDIO_RATE),
            index=torch.full((streams,), -1, device=device),
        )

    @torch.no_grad()
    def step(self, audio: Tensor, state: ScatteringState) -> tuple[Tensor, ScatteringState]:
        audio = torch.cat([state.recent, audio], dim=-1)
        count = max(0, audio.shape[-1] - self.tail) // self.spec.hop
        rest, was_warm = audio[:, count * self.spec.hop :].clone(), state.warm
        if count == 0:
            return audio.new_empty(len(audio), 0, self.path_count), dataclasses.replace(state, recent=rest)
        if self._kernel and audio.is_cpu:
            frames, *leaves = self._kernel.run(audio, count, state.sums, state.bands, state.audio)
            state = self._advance(state, count, *leaves)
        else:
            frames, state = self._step(audio, state)
        return frames if was_warm else frames[:, 1:], dataclasses.replace(state, recent=rest)

    def _step(self, audio: Tensor, state: ScatteringState) -> tuple[Tensor, ScatteringState]:
        """Return what StepKernel does, and the state without the rest of the audio, in PyTorch."""
        frames = []
        for windows in self._split_windows(audio, 1):
            count, hops = windows.shape[1], self.online.high.forward(windows)
            sums, bands, past = self._append(state, hops)
            low = self.online.low.forward(self._extend_bands(bands, hops.bands), self._extend_audio(past, hops.audio))
            frames.append(self.online.join(_overlap_add(sums, ONLINE_COLUMNS), low))
            state = self._advance(state, count, *self._last(count, sums, bands, past))
        return torch.cat(frames, dim=1), state

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Return [N, ceil(T / hop), paths] for audio [N, T], each frame from all the audio that it depends on."""
        hop, (streams, samples) = self.spec.hop, audio.shape
        count = self.spec.frame_count(samples)
        # the frame before frame 0 is the one that fills the look-ahead
        hops = -(-(count + 1 + HOPS_AFTER) // OFFLINE_FRAMES) * OFFLINE_FRAMES
        audio = nn.functional.pad(audio, (self.start, self.tail + hops * hop - self.start - samples))
        # one hop of history more than an online stream keeps, since frames wait for one hop more
        state = self._silence(streams, HOPS_BEFORE + HOPS_AFTER)
        frames = []
        for windows in self._split_windows(audio, OFFLINE_FRAMES):
            sums, bands, low_audio = self._append(state, self.offline.high(windows))
            span = self.offline.low.span // hop
            low = self.offline.low(
                _sliding_windows(bands, hop // BAND_RATE, span, OFFLINE_FRAMES),
                _sliding_windows(low_audio, hop // AUDIO_RATE, span, OFFLINE_FRAMES),
            )
            frames.append(self.offline.join(_overlap_add(sums, OFFLINE_COLUMNS), low))
            state = self._advance(state, windows.shape[1], *self._last(windows.shape[1], sums, bands, low_audio))
        first = 1 + HOPS_AFTER
        return torch.cat(frames, dim=1)[:, first : first + count]

    def _split_windows(self, audio: Tensor, multiple: int) -> Iterator[Tensor]:
        """Yield the hops' windows [N, F, block] of audio [N, t], a few at a time, F a multiple of `multiple`."""
        if audio.shape[-1] >= self.block:
            windows = audio.unfold(-1, self.block, self.spec.hop)
            most = MAX_CPU_WINDOWS if audio.device.type == "cpu" else MAX_GPU_WINDOWS
            count = max(1, most // max(1, audio.shape[0]) // multiple) * multiple
            for start in range(0, windows.shape[1], count):
                yield windows[:, start : start + count]

    def _append(self, state: ScatteringState, hops: HighRateOutput) -> tuple[Tensor, Tensor, Tensor]:
        """Return the kept and the new hops on one time axis: sums [N, H + F, ...], bands [N, K, t], audio [N, t]."""
        hop = self.spec.hop
        bands = hops.bands[..., : hop // BAND_RATE].movedim(1, 2).flatten(-2)
        audio = hops.audio[..., : hop // AUDIO_RATE].flatten(1)
        return (
            torch.cat([state.sums, hops.sums], dim=1),
            torch.cat([state.bands, bands], dim=-1),
            torch.cat([state.audio, audio], dim=-1),
        )

    def _last(self, count: int, sums: Tensor, bands: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what remains of the kept and the new hops `count` hops later."""
        hop = self.spec.hop
        rows = bands[..., count * hop // BAND_RATE :], audio[..., count * hop // AUDIO_RATE :]
        return sums[:, count:].clone(), rows[0].clone(), rows[1].clone()

    def _advance(
        self, state: ScatteringState, count: int, sums: Tensor, bands: Tensor, audio: Tensor
    ) -> ScatteringState:
        """Return the state `count` hops later."""
        return dataclasses.replace(state, sums=sums, bands=bands, audio=audio, index=state.index + count, warm=True)

    def _extend_bands(self, bands: Tensor, hops: Tensor) -> Tensor:
        """Return [N, F, K, span/32]: unknown envelopes mirror the known ones, so that ψ2 meets no step."""
        past = self._past(bands, BAND_RATE, hops.shape[1])
        missing = self.online.low.span // BAND_RATE - past.shape[-1] - hops.shape[-1]
        return torch.cat([past, hops, hops[..., -missing:].flip(-1)], dim=-1)

    def _extend_audio(self, audio: Tensor, hops: Tensor) -> Tensor:
        """Return [N, F, 4h/8 + margin]: audio fades out, since an abrupt end would excite the lowest bands."""
        return torch.cat([self._past(audio, AUDIO_RATE, hops.shape[1]), hops * self.fade], dim=-1)

    def _past(self, rows: Tensor, rate: int, count: int) -> Tensor:
        """Return the kept hops before each new one, of rows [N, ..., t]: [N, count, ..., 3h / rate]."""
        return _sliding_windows(rows, self.spec.hop // rate, HOPS_BEFORE, 1)[:, :count]


def _overlap_add(sums: Tensor, columns: tuple[int, ...]) -> Tensor:
    """Return frames [N, F, P] of the hops' sums [N, H + F, P, C]: column i of the hop i before the newest."""
    history = len(columns) - 1
    count = sums.shape[1] - history
    frames = sums[:, history:, :, columns[0]].clone()
    for back, column in enumerate(columns[1:], start=1):
        frames += sums[:, history - back : history - back + count, :, column]
    return frames


def _sliding_windows(rows: Tensor, hop: int, length: int, step: int) -> Tensor:
    """Return windows of `length` hops at every `step` hops of rows [N, ..., t]: [N, F, ..., length * hop]."""
    return rows.unfold(-1, length * hop, step * hop).movedim(-2, 1)
