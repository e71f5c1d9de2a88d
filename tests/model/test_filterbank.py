"""The filters are kymatio's."""

from __future__ import annotations

import numpy as np
import pytest
from kymatio.scattering1d.filter_bank import morlet_1d

from streamtag.model.filterbank import FilterBank, Wavelet, compute_filters
from streamtag.spec import ScatteringSpec

SIZE = 20480  # samples; the longest wavelet fits


def test_the_stored_filters_are_kymatios() -> None:
    bank, computed = FilterBank.build(ScatteringSpec()), compute_filters(10, 8)
    for own, theirs in ((bank.first, computed["first"]), (bank.second, computed["second"])):
        assert own == tuple(Wavelet(*row) for row in theirs)


def test_other_filters_are_computed() -> None:
    spec = ScatteringSpec(J=9, Q=4, T=512, hop=2048, window=4096, lookahead=3072)
    bank = FilterBank.build(spec)
    assert bank.first == tuple(Wavelet(*row) for row in compute_filters(9, 4)["first"])
    assert len(bank.first) < len(FilterBank.build(ScatteringSpec()).first)


@pytest.mark.parametrize("order", ["first", "second"])
def test_responses_are_kymatios(order: str) -> None:
    bins = np.arange(-SIZE // 4, SIZE)  # negative ones wrap around
    for psi in getattr(FilterBank.build(ScatteringSpec()), order):
        expected = morlet_1d(SIZE, psi.xi, psi.sigma)[bins % SIZE]
        np.testing.assert_allclose(psi.response(bins, SIZE), expected, atol=1e-9 * expected.max())
