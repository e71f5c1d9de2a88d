"""The cells of a wave (see `wavefront`) as one kernel for each direction, in Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from trainer.systems.wavefront import Buffers, Cells

BLOCK = 256  # units of one layer that one program computes


class TritonCells(Cells):
    def forward(self, b: Buffers, wave: int) -> None:
        layers = b.active(wave)
        units = b.gradient[0].numel()
        _forward[(triton.cdiv(units, BLOCK), layers.stop - layers.start)](
            b.product, b.bias, b.first, b.kept, b.states, b.inputs, b.gates, b.zeta,
            wave, layers.start, units, b.layers, b.waves, b.hidden, BLOCK,
        )  # fmt: skip

    def backward(self, b: Buffers, wave: int) -> None:
        layers, later = b.active(wave), b.active(wave + 1)
        if wave + 1 == b.waves:
            later = slice(0, 0)
        units = b.gradient[0].numel()
        _backward[(triton.cdiv(units, BLOCK), layers.stop - layers.start)](
            b.product_back, b.kept, b.zeta, b.output_gradient, b.gradient, b.gates,
            wave, layers.start, later.start, later.stop, units, b.layers, b.waves, b.hidden, BLOCK,
        )  # fmt: skip


@triton.jit(do_not_specialize=["wave", "start"])
def _forward(
    product, bias, first, kept, states, inputs, gates, zeta,
    wave, start, units, layers, waves, H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(1)
    layer = (start + index).to(tl.int64)
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    stream, h = unit // H, unit % H
    at = product + (index * units + stream * H) * 4 + h
    own = bias + layer * 4 * H + h
    r = tl.load(at, inside, 0.0).to(tl.float32) + tl.load(own, inside, 0.0)
    z = tl.load(at + H, inside, 0.0).to(tl.float32) + tl.load(own + H, inside, 0.0)
    n = tl.load(at + 2 * H, inside, 0.0).to(tl.float32) + tl.load(own + 2 * H, inside, 0.0)
    q = tl.load(at + 3 * H, inside, 0.0).to(tl.float32) + tl.load(own + 3 * H, inside, 0.0)
    is_first = inside & (layer == 0)
    at = first + (wave.to(tl.int64) * units + stream * H) * 3 + h
    r = tl.sigmoid(r + tl.load(at, is_first, 0.0).to(tl.float32))
    z = tl.sigmoid(z + tl.load(at + H, is_first, 0.0).to(tl.float32))
    n = n + tl.load(at + 2 * H, is_first, 0.0).to(tl.float32) + r * q
    n = 2 * tl.sigmoid(2 * n) - 1  # tanh
    now = layer * (waves + 1) + wave
    before = tl.load(states + now * units + unit, inside, 0.0)
    after = n + z * (before - n)
    tl.store(states + (now + 1) * units + unit, after, inside)
    kind = inputs.dtype.element_ty
    tl.store(inputs + ((now + 1) * units + stream * H) * 2 + H + h, after.to(kind), inside)
    is_below = inside & (layer + 1 < layers)
    factor = tl.load(kept + (layer + 1) * units + unit, is_below, 0.0)
    above = now + waves + 2
    tl.store(inputs + (above * units + stream * H) * 2 + h, (after * factor).to(kind), is_below)
    change = (1 - z) * (1 - n * n)
    at = gates + ((layer * waves + wave) * units + stream * H) * 4 + h
    tl.store(at, (change * r * q * (1 - r)).to(kind), inside)
    tl.store(at + H, ((before - n) * z * (1 - z)).to(kind), inside)
    tl.store(at + 2 * H, change.to(kind), inside)
    tl.store(at + 3 * H, (change * r).to(kind), inside)
    tl.store(zeta + (layer * waves + wave) * units + unit, (1 - z).to(kind), inside)


@triton.jit(do_not_specialize=["wave", "start", "later", "later_stop"])
def _backward(
    product, kept, zeta, output_gradient, gradient, gates,
    wave, start, later, later_stop, units, layers, waves, H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    layer = (start + tl.program_id(1)).to(tl.int64)
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    stream, h = unit // H, unit % H
    has_later = inside & (layer >= later) & (layer < later_stop)
    change = tl.load(zeta + (layer * waves + wave + 1) * units + unit, has_later, 0.0).to(tl.float32)
    own = tl.load(gradient + layer * units + unit, has_later, 0.0)
    at = product + ((layer - later) * units + stream * H) * 2 + h
    own = own - own * change + tl.load(at + H, has_later, 0.0).to(tl.float32)
    has_above = inside & (layer + 1 >= later) & (layer + 1 < later_stop)
    from_above = tl.load(at + 2 * units, has_above, 0.0).to(tl.float32)
    own += from_above * tl.load(kept + (layer + 1) * units + unit, has_above, 0.0)
    is_top = inside & (layer == layers - 1)
    own += tl.load(output_gradient + (wave - layer) * units + unit, is_top, 0.0)
    tl.store(gradient + layer * units + unit, own, inside)
    at = gates + ((layer * waves + wave) * units + stream * H) * 4 + h
    kind = gates.dtype.element_ty
    for part in tl.static_range(4):
        factor = tl.load(at + part * H, inside, 0.0).to(tl.float32)
        tl.store(at + part * H, (own * factor).to(kind), inside)
