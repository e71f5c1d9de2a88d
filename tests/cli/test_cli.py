"""Help, version, and the model card."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import streamtag as package
from streamtag.cli.info import network_facts
from streamtag.cli.program import Section
from streamtag.protocol.messages import Message
from streamtag.server.query import FILTER_PARAMETERS, INGEST_PARAMETERS, TOKEN
from tests.cli.conftest import Run
from tests.model.conftest import by_time

COMMANDS = ("file", "listen", "serve", "watch", "replay", "catalog", "model", "bench", "devices", "help")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_and_groups_the_options(
    streamtag: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a wide terminal makes it no wider
    answer = streamtag(*command.split(), "--help", small=False)
    assert (answer.code, answer.err) == (0, "")
    assert streamtag("help", *command.split(), small=False).out == answer.out
    assert max(map(len, answer.lines)) in range(60, 81)
    assert not [line for line in answer.lines if "<" in line and "F-<name>" not in line]  # the library's names of types
    if command == "":
        assert all(f"\n  {name} " in answer.out for name in COMMANDS)
        return
    assert answer.out.startswith(f"Usage: streamtag {command} [OPTIONS]")
    text, _, examples = answer.out.partition("\n  Examples:")
    assert examples
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles == [title for title in [*map(str, Section), "Options"] if title in titles]
    general = set(re.findall(r"^  (?:-h, )?(--\S+)", text.partition("\nGeneral:\n")[2], re.MULTILINE))
    assert general <= {"--help", "--for", "--seconds", "--verbose", "--quiet"}


def test_the_protocol_has_a_page_of_help(streamtag: Run) -> None:
    page = streamtag("help", "protocol", small=False).out
    assert max(map(len, page.splitlines())) <= 80
    kinds = [kind.type for kind in Message.__subclasses__()]
    assert len(kinds) > 6
    for word in (*kinds, *FILTER_PARAMETERS, *INGEST_PARAMETERS, TOKEN):
        assert re.search(rf"\b{word}\b", page), word


def test_options_are_grouped(streamtag: Run) -> None:
    """The order and the titles are those of `Section`, and no option is outside."""
    sections = [*map(str, Section), "Options"]  # this one where there is only --help
    for command in COMMANDS:
        text = streamtag(command, "--help", small=False).out.partition("\n  Examples:")[0]
        titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
        assert titles == [title for title in sections if title in titles], command
        general = text.partition("\nGeneral:\n")[2]
        assert set(re.findall(r"^  (?:-h, )?(--\S+)", general, re.MULTILINE)) <= {
            "--help",
            "--for",
            "--seconds",
            "--verbose",
            "--quiet",
        }


def test_version(streamtag: Run) -> None:
    answer = streamtag("--version", small=False)
    assert (answer.code, answer.out) == (0, f"streamtag {package.__version__}\n")


def test_the_model_card(streamtag: Run, model: Path) -> None:
    answer = streamtag("model", "--model", model, small=False)
    assert answer.code == 0
    assert answer.lines[:2] == ["small", str(model)]
    assert any(line.split() == ["guitar", "0.50"] for line in answer.lines)
    card = json.loads(streamtag("model", "--json", "--model", model, small=False).out)
    assert card["card"]["licence"] == "none"
    facts = {
        "front_end": "scattering",
        "features": 374,
        "layers": "1 x 16 GRU",
        "reads": "frame by frame, with a state",
    }
    assert card["network"] == facts
    windowed = network_facts(by_time("mel", "CNN 2"))
    assert windowed["layers"] == "convolutions with 4, 6, 32 channels"
    assert (windowed["reads_last_s"], windowed["evaluated_every_s"]) == (pytest.approx(146 * 0.016), 1.024)
    assert network_facts(by_time("cqt", "transposed LSTM"))["layers"] == "2 x 32 LSTM, a step per band, of 112 values"
    assert len(card["tags"]) == len(card["thresholds"]) == 50
