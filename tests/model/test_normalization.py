"""Normalisation: what changes with loudness and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model import Normalization, NormalizationSpec, Scattering
from streamtag.model.normalization import MIN_RATIO


@pytest.fixture(scope="module")
def frames(scattering: Scattering, music: Tensor) -> Tensor:
    return scattering.forward(music[None, :80000])


def test_ratios_do_not_depend_on_loudness(scattering: Scattering, frames: Tensor) -> None:
    """Eq. 4 of the paper; S1 itself moves by the logarithm of the gain."""
    raw = Normalization(NormalizationSpec(floor=1e-9), scattering.spec).raw
    loud, soft = raw(frames), raw(frames * 0.1)
    assert float((loud - soft)[..., 71:].abs().max()) < 1e-3
    torch.testing.assert_close((loud - soft)[..., 1:71].mean(), torch.tensor(2.302), atol=1e-2, rtol=0)


def test_none_divides_only(scattering: Scattering, frames: Tensor) -> None:
    raw = Normalization(NormalizationSpec(compression="none", floor=1e-9), scattering.spec).raw(frames)
    torch.testing.assert_close(raw[..., 1:71], frames[..., 1:71])
    first_pair = frames[..., 71] / frames[..., 1]
    torch.testing.assert_close(raw[..., 71], first_pair, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("compression", ["none", "log"])
def test_s1_is_divided_by_s0_if_the_settings_say_so(scattering: Scattering, compression: str, frames: Tensor) -> None:
    """Eq. 4 as printed; S0, which may be negative, counts by its absolute value."""
    spec = NormalizationSpec(compression=compression, floor=1e-9)  # type: ignore[arg-type]
    plain = Normalization(spec, scattering.spec).raw(frames)
    found = Normalization(replace(spec, divide_s1=True), scattering.spec).raw(frames)
    assert torch.equal(found[..., 0], plain[..., 0])
    assert torch.equal(found[..., 71:], plain[..., 71:])
    ratio = frames[..., 1:71] / frames[..., :1].abs()
    expected = ratio if compression == "none" else torch.log(ratio + MIN_RATIO)
    torch.testing.assert_close(found[..., 1:71], expected, rtol=1e-3, atol=1e-3)
    assert bool((frames[..., 0] < 0).any())


def test_fitted_frames_have_mean_zero_and_deviation_one(scattering: Scattering, frames: Tensor) -> None:
    normalization = Normalization(NormalizationSpec(), scattering.spec)
    raw = normalization.raw(frames)[0]
    normalization.fit(raw.mean(0), raw.std(0))
    x = normalization(frames)[0]
    assert float(x.mean(0).abs().max()) < 1e-3
    assert float((x.std(0) - 1).abs().max()) < 1e-3
    unfitted = Normalization(NormalizationSpec(), scattering.spec)(frames)[0]
    assert float(unfitted.mean(0).abs().max()) > 0.1


@pytest.mark.parametrize("value", [0.0, 1e-30, -1e-12, 1e6])
def test_any_frame_gives_numbers(scattering: Scattering, value: float) -> None:
    normalization = Normalization(NormalizationSpec(), scattering.spec)
    normalization.fit(torch.zeros(374), torch.zeros(374))
    assert bool(normalization(torch.full((1, 2, 374), value)).isfinite().all())


@pytest.mark.parametrize(
    "change", [{"compression": "sqrt"}, {"floor": 0.0}, {"floor": 2.0}, {"floor": "x"}, {"divide_s1": 1}]
)
def test_settings_that_make_no_sense(change: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        NormalizationSpec(**change)  # type: ignore[arg-type]
