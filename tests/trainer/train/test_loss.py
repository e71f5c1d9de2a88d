"""The loss of a clip's frames and of its score."""

from __future__ import annotations

import torch

from trainer.train.loop import loss_of


def test_loss_counts_only_weighted_frames() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 6, 3), torch.rand(2, 6, 3)
    weight = torch.ones(2, 6)
    weight[:, 4:] = 0
    total = weight.sum()
    short = loss_of(logits[:, :4], y[:, :4], weight[:, :4], 0.5, total)
    torch.testing.assert_close(loss_of(logits, y, weight, 0.5, total), short)
    other = y.clone()
    other[:, 5] = 1 - other[:, 5]
    torch.testing.assert_close(loss_of(logits, other, weight, 0.5, total), short)
    other[:, 0] = 1 - other[:, 0]
    assert not torch.isclose(loss_of(logits, other, weight, 0.5, total), short)


def test_the_score_of_a_clip_is_the_plain_mean_of_its_frames() -> None:
    """Whatever the frames weigh: the part of the loss that `clip_loss` adds compares what predictions report."""
    torch.manual_seed(0)
    logits, y, weight = torch.randn(2, 6, 3), torch.rand(2, 6, 3), torch.rand(2, 6)
    weight[:, 4:] = 0
    added = loss_of(logits, y, weight, 1.0, weight.sum()) - loss_of(logits, y, weight, 0.0, weight.sum())
    means = torch.sigmoid(logits[:, :4]).mean(1), y[:, :4].mean(1)
    torch.testing.assert_close(added, torch.nn.functional.binary_cross_entropy(*means))


def test_the_score_of_a_clip_may_be_its_last_frame() -> None:
    torch.manual_seed(0)
    logits, y, weight = torch.randn(2, 6, 3), torch.rand(2, 6, 3), torch.rand(2, 6)
    weight[0, 4:] = 0
    with_clip, without = (loss_of(logits, y, weight, share, weight.sum(), "last") for share in (1.0, 0.0))
    last = torch.sigmoid(torch.stack([logits[0, 3], logits[1, 5]]))
    means = torch.stack([y[0, :4].mean(0), y[1].mean(0)])
    torch.testing.assert_close(with_clip - without, torch.nn.functional.binary_cross_entropy(last, means))


def test_whole_clip_outputs_are_compared_with_the_plain_mean() -> None:
    torch.manual_seed(0)
    y, weight = torch.rand(2, 6, 3), torch.rand(2, 6)
    mean = y.mean(1)
    logits = torch.logit(mean)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(logits, y, weight, 0.5, weight.sum()), logits)
    assert float(slope.abs().max()) < 1e-6, "the mean itself is the best answer"
    (slope,) = torch.autograd.grad(loss_of(logits + 1, y, weight, 0.5, weight.sum()), logits)
    assert float(slope.abs().min()) > 1e-3
