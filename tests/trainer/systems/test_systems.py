"""Every system by name: as large as the paper counts, and the same function in pieces as at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model import gather_rows, where
from trainer.commands import systems as systems_command
from trainer.systems import SYSTEMS, TABLE_2, Dropout, RecurrentState, named

EXACT = {
    "Scat-4L-256H-LSTM": 2_295_346,
    "Scat-4L-256H-BN-LSTM": 2_295_346,
    "Scat-4L-256H-GRU": 1_724_722,
    "Scat-4L-512H-LSTM": 8_260_658,
    "Scat-4L-512H-GRU": 6_201_906,
    "Scat-5L-512H-GRU": 7_776_306,
    "Scat-6L-512H-GRU": 9_350_706,
    "Scat-4L-CNN": 17_365_938,
}
RECURRENT = ["Scat-3L-24H-GRU", "Scat-3L-24H-LSTM", "Scat-3L-24H-BN-LSTM", "Mel-2L-24H-GRU-by-time"]


def whole_network(name: str, dropout: Dropout | None = None) -> nn.Module:
    torch.manual_seed(1)
    network = named(name).build(13, 5, dropout)
    for module in network.modules():
        for name_of in ("mean", "variance", "running_mean", "running_var", "scale"):
            if isinstance(values := getattr(module, name_of, None), Tensor):
                values.data.uniform_(0.5, 1.5)  # as if it had been trained
    return network.eval()


def start(network: nn.Module, streams: int) -> Any:
    return network.initial_state(streams)  # type: ignore[operator]


def test_the_papers_counts() -> None:
    assert len(TABLE_2) == 13
    for name in TABLE_2:
        row = SYSTEMS[name]
        assert row.published is not None
        assert row.published.parameters_k is not None
        count = row.parameters(row.inputs, 50)
        printed = count // 1000 if name != "Scat-4L-512H-GRU" else round(count / 1000)
        assert printed == row.published.parameters_k, name
    for name, count in EXACT.items():
        assert SYSTEMS[name].parameters(433, 50) == count, name


@pytest.mark.parametrize("name", RECURRENT)
def test_in_pieces_it_is_the_same_function(name: str) -> None:
    network = whole_network(name)
    x = torch.randn(4, 130, 13)  # beyond the frames that have statistics of their own
    with torch.no_grad():
        whole, end = network(x, start(network, 4))
        state, pieces = start(network, 4), []
        for piece in torch.split(x, [1, 1, 40, 5, 83], dim=1):
            y, state = network(piece, state)
            pieces.append(y)
        forgetful = torch.cat([network(piece, start(network, 4))[0] for piece in x.chunk(2, dim=1)], dim=1)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(state.cells, end.cells, atol=1e-5, rtol=0)
    assert state.age.tolist() == [130] * 4
    assert float((forgetful - whole).abs().max()) > 1e-3, "without its state it is another"


@pytest.mark.parametrize("name", RECURRENT)
def test_streams_of_a_batch_do_not_affect_each_other(name: str) -> None:
    network = whole_network(name)
    x = torch.randn(3, 20, 13)
    noisy = x.clone()
    noisy[1] = 1e4
    with torch.no_grad():
        before, after = network(x, start(network, 3)), network(noisy, start(network, 3))
        rows = torch.tensor([True, False, True])
        torch.testing.assert_close(before[0][rows], after[0][rows])
        assert not torch.allclose(before[0][1], after[0][1])
        state: RecurrentState = where(rows, before[1], start(network, 3))
        assert state.age.tolist() == [20, 0, 20]
        fresh, alone = network(x[1:2], gather_rows(state, torch.tensor([1]))), network(x[1:2], start(network, 1))
        torch.testing.assert_close(fresh[0], alone[0])


@pytest.mark.parametrize(
    ("name", "frames", "size"), [("Scat-4L-CNN", 114, 40), ("Mel-4L-CNN", 300, 96), ("CQT-5L-512H-LSTM", 300, 12)]
)
def test_whole_clip_systems_have_one_output_per_clip(name: str, frames: int, size: int) -> None:
    system = named(name)
    assert not system.reads_frames
    network = system.build(size, 5).eval()
    with torch.no_grad():
        for length in (frames, frames + 9):
            logits, _ = network(torch.randn(2, length, size), start(network, 2))
            assert logits.shape == (2, 1, 5)


@pytest.mark.parametrize("name", [*RECURRENT, "CQT-5L-512H-GRU"])
def test_dropout_acts_in_training_alone(name: str) -> None:
    x = torch.randn(2, 9, 13)
    for dropout in (Dropout(between=0.5), Dropout(recurrent=0.5)):
        network = whole_network(name, dropout)
        with torch.no_grad():
            calm = [network(x, start(network, 2))[0] for _ in range(2)]
            network.train()
            wild = [network(x, start(network, 2))[0] for _ in range(2)]
        assert torch.equal(*calm)
        assert not torch.equal(*wild)


def test_autocast_keeps_single_precision_where_it_matters() -> None:
    for name in RECURRENT:
        network = whole_network(name)
        x = torch.randn(2, 9, 13)
        with torch.no_grad():
            exact, _ = network(x, start(network, 2))
            with torch.autocast("cpu", torch.bfloat16):
                close, state = network(x, start(network, 2))
        assert close.dtype == state.cells.dtype == torch.float32
        torch.testing.assert_close(close, exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["Scat-0L-9H-GRU", "Scat-2L-9H-RNN", "Mel-2L-9H-GRU", "Scat-2L-9H-GRU-by-time", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="python -m trainer systems"):
        named(name)


def test_the_command_lists_all_systems(capsys: pytest.CaptureFixture[str]) -> None:
    systems_command.command(as_json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == SYSTEMS.keys()
    assert rows["Scat-5L-512H-GRU"]["parameters"] == 7_776_306
    assert (rows["Scat-4L-CNN"]["window_s"], rows["Scat-5L-512H-GRU"]["window_s"]) == (29.0, 0.0)
    systems_command.command()
    text = capsys.readouterr().out
    assert "7,776,306" in text
    assert all(name in text for name in rows)


def test_the_command_prints_what_the_paper_leaves_open(capsys: pytest.CaptureFixture[str]) -> None:
    systems_command.command(paper=True, as_json=True)
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["GRU"]["settings"] == {"reset_after": False}
    systems_command.command(paper=True)
    text = capsys.readouterr().out
    assert "recurrent_dropout=0.25" in text
    assert all(what in text for what in rows)
