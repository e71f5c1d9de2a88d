"""The stacked GRU against torch.nn.GRU."""

from __future__ import annotations

import torch
from torch import nn

from streamtag.model import NetworkSpec, StackedGRU


def test_steps_equal_nn_gru_over_the_whole_sequence() -> None:
    torch.manual_seed(0)
    ours = StackedGRU(NetworkSpec(inputs=7, hidden=16, layers=3, outputs=2))
    theirs = nn.GRU(7, 16, 3, batch_first=True)
    theirs.load_state_dict(ours.gru.state_dict())
    x = torch.randn(4, 20, 7)
    expected, hidden = theirs(x)
    state, parts = ours.initial_state(4), []
    for frame in x.tensor_split(20, dim=1):
        y, state = ours.step(frame, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, hidden.transpose(0, 1), atol=1e-6, rtol=1e-5)


def test_other_weights_give_other_outputs() -> None:
    torch.manual_seed(0)
    spec = NetworkSpec(inputs=7, hidden=16, layers=3, outputs=2)
    x = torch.randn(1, 5, 7)
    assert not torch.allclose(StackedGRU(spec)(x), StackedGRU(spec)(x), atol=1e-3)


def test_the_state_has_streams_first_and_no_frames_change_nothing() -> None:
    gru = StackedGRU(NetworkSpec(inputs=7, hidden=16, layers=3, outputs=2))
    state = gru.initial_state(5)
    assert state.shape == (5, 3, 16)
    y, same = gru.step(torch.zeros(5, 0, 7), state)
    assert y.shape == (5, 0, 16)
    assert torch.equal(same, state)


def test_five_layers_of_512_have_the_published_number_of_weights() -> None:
    """Song et al. 2018, Table 2: 7776 K for 433 inputs, with one bias a gate (nn.GRU has two)."""
    gru = StackedGRU(NetworkSpec(inputs=433))
    total = sum(p.numel() for p in gru.parameters()) + 50 * 513
    assert total - 5 * 3 * 512 == 7_776_306
