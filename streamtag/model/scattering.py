"""The scattering transform of an endless signal, hop by hop, and of a whole signal.

A frame needs the envelopes within about ±2.5 hops of its centre, weighted by φ. Short wavelets and long ones
are treated apart:

    audio ─┬─► High: windows of 1.25 hops at the full rate, once a hop. What they tell is final but for the last
           │   margin; only partial sums with φ are kept, for the hop's own frame and the next three.
           │        │ the same bands' envelopes, at 1/32 of the rate
           └─ 1/8 ──┴─► Low: windows of 5 hops, anew for every frame, at rates so low that this is cheap.

A signal is silent before its first and after its last sample. `forward` knows the audio that follows a frame's
look-ahead, `step` does not. That is their only difference beyond rounding and aliasing: 1e-3 of the norm, but for
the slowest envelopes (ψ2 below 8 Hz, whose support is longer than the look-ahead), which bring it to 4e-3 in the
second order of rhythmic music.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streamtag.model.filterbank import FilterBank, falling
from streamtag.model.high_rate import HighRateBranch, Hops
from streamtag.model.layout import AFTER, AUDIO_RATE, BAND_RATE, BEFORE, Layout, Parts
from streamtag.model.low_rate import LowRateBranch
from streamtag.spec import ScatteringSpec

# windows computed at once, where all are known: on a CPU what they need should fit its caches, a GPU wants to be full
ROWS_CPU, ROWS_GPU = 48, 480
GROUP = 12  # frames that share a long window where the audio is known at once

# Lengths of bands as parts of a window, by order: few for a stream, where each length costs a dozen calls whatever
# its work; more for whole signals. Both ends of a hop must fall on points of the short windows, or its sums with φ
# are off by parts of a point: lengths there are multiples of ten.
LIVE_HIGH = (1 / 4, 1 / 8, 3 / 64), (1 / 8, 5 / 64, 5 / 128)
LIVE_LOW = (1 / 64, 1 / 160), (1 / 64, 3 / 320, 3 / 640, 3 / 1280)
WHOLE_HIGH = (1 / 4, 3 / 16, 1 / 8, 3 / 32, 1 / 16, 1 / 32), (1 / 8, 3 / 32, 1 / 16, 3 / 64, 1 / 32, 1 / 64)
WHOLE_LOW = (1 / 64, 1 / 128, 1 / 256), (1 / 64, 1 / 128, 1 / 256, 1 / 512)

# which column of a hop's sums goes into the frames that it meets, from the newest hop on
LIVE = (5, 2, 3, 4)  # a frame whose own hop has just arrived
WHOLE = (0, 1, 2, 3, 4)  # a frame that waited for the hop after its own


@dataclass(frozen=True)
class ScatteringState:
    """What a stream must remember. Streams are axis 0 of every tensor; h is the hop in samples.

    recent [N, h/4 + p]: the p < h samples that do not fill a hop yet, and the samples before them;
    of the last three hops: sums [N, 3, paths, 6] with φ, and what the long windows hold, bands [N, K, 3h/32] and
    audio [N, 3h/8];
    index [N]: the frame that the next hop completes; -1 while the look-ahead fills for the first time.
    warm: whether a hop was done since the start of the batch (same for all streams).
    """

    recent: Tensor
    sums: Tensor
    bands: Tensor
    audio: Tensor
    index: Tensor
    warm: bool = False


class Transform(nn.Module):
    """Both kinds of windows with bands of the same lengths, and the way from their paths to kymatio's order."""

    order: Tensor

    def __init__(self, layout: Layout, high: Parts, low: Parts, frames: int) -> None:
        super().__init__()
        self.high, self.low = HighRateBranch(layout, high), LowRateBranch(layout, low, frames)
        wanted = [(), *((n,) for n in range(len(layout.bank.first))), *layout.bank.pairs]
        computed = [*self.high.paths, *self.low.paths]
        self.register_buffer("order", torch.tensor([computed.index(p) for p in wanted]), persistent=False)

    def join(self, high: Tensor, low: Tensor) -> Tensor:
        return torch.cat([high, low], dim=-1)[..., self.order]


class Scattering(nn.Module):
    """kymatio's Scattering1D(J, Q, T) with unit gain: one frame a hop, in kymatio's path order.

    Frame k is centred at sample hop·k. No gradient flows through it.
    """

    fade: Tensor

    def __init__(self, spec: ScatteringSpec) -> None:
        super().__init__()
        self.spec = spec
        layout = Layout(spec, FilterBank.build(spec))
        self.block = layout.block
        # hops end half a hop after a multiple of the hop, since the look-ahead is one and a half
        self.tail = layout.block - spec.hop
        self.start = spec.hop // 2 + self.tail
        self.path_count = layout.bank.path_count
        self._layout = layout
        self.live = Transform(layout, LIVE_HIGH, LIVE_LOW, 1)
        self._whole: Transform | None = None  # built by the first `forward`, so that a stream starts sooner
        fade = torch.tensor(falling(layout.margin // 2 // AUDIO_RATE), dtype=torch.float32)
        self.register_buffer("fade", fade, persistent=False)

    @property
    def whole(self) -> Transform:
        if self._whole is None:
            self._whole = Transform(self._layout, WHOLE_HIGH, WHOLE_LOW, GROUP).to(self.fade.device)
        return self._whole

    @property
    def latency_s(self) -> float:
        """Algorithmic latency in seconds: from a frame's centre to the last sample that it waits for."""
        return self.spec.lookahead_s

    def initial_state(self, streams: int) -> ScatteringState:
        """The state of `streams` streams before their first sample: silence."""
        return self._silence(streams, BEFORE)

    def _silence(self, streams: int, hops: int) -> ScatteringState:
        hop, device = self.spec.hop, self.fade.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(streams, *shape, device=device)

        return ScatteringState(
            recent=zeros(self.start),
            sums=zeros(hops, len(self.live.high.paths), self.live.high.columns),
            bands=zeros(len(self.live.high.cascade.zeros), hops * hop // BAND_RATE),
            audio=zeros(hops * hop // AUDIO_RATE),
            index=torch.full((streams,), -1, device=device),
        )

    @torch.no_grad()
    def step(self, audio: Tensor, state: ScatteringState) -> tuple[Tensor, ScatteringState]:
        """audio [N, n] for any n >= 0 -> the frames whose look-ahead has now arrived [N, f, paths], new state.

        A stream whose index was -1 in a batch that runs already (it was reset) gives a frame -1 first, which
        stands for the time before its start and is to be ignored.
        """
        audio = torch.cat([state.recent, audio], dim=-1)
        used = max(0, audio.shape[-1] - self.tail) // self.spec.hop * self.spec.hop
        state, started = dataclasses.replace(state, recent=audio[:, used:].clone()), state.warm
        frames = []
        for windows in self._parts(audio, 1):
            hops = self.live.high(windows)
            sums, bands, low_audio = self._history(hops, state)
            known = self._known_bands(bands, hops.bands), self._known_audio(low_audio, hops.audio)
            frames.append(self.live.join(_meet(sums, LIVE), self.live.low(*known)))
            state = self._moved(state, windows.shape[1], sums, bands, low_audio)
        if not frames:
            return audio.new_empty(audio.shape[0], 0, self.path_count), state
        result = torch.cat(frames, dim=1) if len(frames) > 1 else frames[0]
        return result if started else result[:, 1:], state

    def flush(self, state: ScatteringState) -> tuple[Tensor, ScatteringState]:
        """The frames still owed when the streams end here [N, f, paths], and a state as before the first sample."""
        streams, recent = state.recent.shape
        started = state.warm or recent > self.start
        hops = 2 if recent > self.start else 1
        owed = hops * self.spec.hop - (recent - self.tail) if started else 0
        frames, _ = self.step(state.recent.new_zeros(streams, owed), state)
        return frames, self.initial_state(streams)

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """audio [N, T] -> [N, ceil(T / hop), paths], each frame from all the audio that it depends on."""
        hop, (streams, samples) = self.spec.hop, audio.shape
        count = self.spec.frame_count(samples)
        hops = -(-(count + 1 + AFTER) // GROUP) * GROUP  # before frame 0 there is the one that fills the look-ahead
        audio = nn.functional.pad(audio, (self.start, self.tail + hops * hop - self.start - samples))
        # one hop of history more than a live stream keeps, since frames wait for one hop more
        state = self._silence(streams, BEFORE + AFTER)
        frames = []
        for windows in self._parts(audio, GROUP):
            sums, bands, low_audio = self._history(self.whole.high(windows), state)
            low = self.whole.low(
                _stretches(bands, hop // BAND_RATE, self.whole.low.span // hop, GROUP),
                _stretches(low_audio, hop // AUDIO_RATE, self.whole.low.span // hop, GROUP),
            )
            frames.append(self.whole.join(_meet(sums, WHOLE), low))
            state = self._moved(state, windows.shape[1], sums, bands, low_audio)
        first = 1 + AFTER
        return torch.cat(frames, dim=1)[:, first : first + count]

    def _parts(self, audio: Tensor, group: int) -> Iterator[Tensor]:
        """audio [N, t] -> the hops' windows [N, F, block], a few at a time, F a multiple of `group`."""
        if audio.shape[-1] >= self.block:
            windows = audio.unfold(-1, self.block, self.spec.hop)
            rows = ROWS_CPU if audio.device.type == "cpu" else ROWS_GPU
            few = max(1, rows // max(1, audio.shape[0]) // group) * group
            for start in range(0, windows.shape[1], few):
                yield windows[:, start : start + few]

    def _history(self, hops: Hops, state: ScatteringState) -> tuple[Tensor, Tensor, Tensor]:
        """The kept hops and the new ones on one time axis: sums [N, H + F, ...], bands [N, K, t], audio [N, t]."""
        hop = self.spec.hop
        bands = hops.bands[..., : hop // BAND_RATE].movedim(1, 2).flatten(-2)
        audio = hops.audio[..., : hop // AUDIO_RATE].flatten(1)
        return (
            torch.cat([state.sums, hops.sums], dim=1),
            torch.cat([state.bands, bands], dim=-1),
            torch.cat([state.audio, audio], dim=-1),
        )

    def _moved(self, state: ScatteringState, count: int, sums: Tensor, bands: Tensor, audio: Tensor) -> ScatteringState:
        """The state `count` hops later."""
        return dataclasses.replace(
            state,
            sums=sums[:, count:].clone(),
            bands=bands[..., count * self.spec.hop // BAND_RATE :].clone(),
            audio=audio[..., count * self.spec.hop // AUDIO_RATE :].clone(),
            index=state.index + count,
            warm=True,
        )

    def _known_bands(self, bands: Tensor, hops: Tensor) -> Tensor:
        """[N, F, K, span/32]: after what is known, envelopes go on as a mirror image, so that ψ2 meets no step."""
        hop = self.spec.hop // BAND_RATE
        known = torch.cat([_stretches(bands, hop, BEFORE + 1, 1), hops[..., hop:]], dim=-1)
        missing = self.live.low.span // BAND_RATE - known.shape[-1]
        return torch.cat([known, known[..., -missing:].flip(-1)], dim=-1)

    def _known_audio(self, audio: Tensor, hops: Tensor) -> Tensor:
        """[N, F, span/8]: the audio fades out into silence, since a sudden end would sound in the lowest bands."""
        hop, fade = self.spec.hop // AUDIO_RATE, self.fade.shape[-1]
        past = _stretches(audio, hop, BEFORE + 1, 1)
        known = torch.cat([past, hops[..., hop:-fade], hops[..., -fade:] * self.fade], dim=-1)
        return nn.functional.pad(known, (0, self.live.low.span // AUDIO_RATE - known.shape[-1]))


def _meet(sums: Tensor, columns: tuple[int, ...]) -> Tensor:
    """Sums of hops [N, H + F, P, C] -> frames [N, F, P]: column i of the hop i before the newest."""
    history = len(columns) - 1
    count = sums.shape[1] - history
    frames = sums[:, history:, :, columns[0]].clone()
    for back, column in enumerate(columns[1:], start=1):
        frames += sums[:, history - back : history - back + count, :, column]
    return frames


def _stretches(rows: Tensor, hop: int, length: int, apart: int) -> Tensor:
    """rows [N, ..., t] -> stretches of `length` hops, `apart` hops from each other: [N, F, ..., length * hop]."""
    return rows.unfold(-1, length * hop, apart * hop).movedim(-2, 1)
