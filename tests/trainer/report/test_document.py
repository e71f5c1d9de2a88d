"""A report holds the figures it was made of, says what does not compare, and is complete or not there."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from streamtag.errors import ManifestError, OutputError
from tests.trainer import synthetic_model
from trainer.data.manifest import Manifest
from trainer.report import document, plots, published, sections


@pytest.fixture(scope="module")
def data() -> Manifest:
    return synthetic_model.set_without_sound(120, ("guitar", "slow <b>|x", "techno"))


@pytest.fixture(scope="module")
def results(data: Manifest) -> list[dict[str, Any]]:
    found = [
        synthetic_model.result(data, keep, name, minutes=(2, 5), streams=8)
        for keep, name in ((0.9, "Scat-5L-512H-GRU"), (0.5, "Scat-2L-32H-GRU"))
    ]
    faded = {"fade_s": 4.0, "old_half_s": 7.25, "old_gone_s": None}
    found[0]["streaming"]["cross_fade"] = {**found[0]["streaming"]["song_change"], **faded}
    found[0]["course"] = {"epoch": [1, 2], "loss": [0.7, 0.5], "roc_auc": [0.6, 0.8]}
    return found


@pytest.fixture(scope="module")
def written(results: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    document.write(results, folder, "Two systems & a half")
    return folder


def test_both_pages_hold_the_figures(written: Path, results: list[dict[str, Any]]) -> None:
    page, web = (written / "report.md").read_text(), (written / "report.html").read_text()
    for result in results:
        row = next(line for line in page.splitlines() if line.startswith(f"| {result['name']} | 7,776,306 "))
        mean = result["scores"]["mean"]
        assert f"{mean['roc_auc']:.3f} ({mean['roc_auc_interval'][0]:.3f}" in row
        assert f"{mean['roc_auc']:.3f} (" in web
    for words in ("split **test**, 40 clips", "in minute 5", "95% of the new song", "Tags taken for each other"):
        assert words in page
    change = results[1]["streaming"]["song_change"]
    assert f"hard cut | 40 | {change['arrived_s']:.1f} s |" in page
    assert re.search(r"\| Scat-5L-512H-GRU, cross-fade of 4 s \| 40 \|.*\| 7\.2 s \| > 29\.3 s \|", page)
    assert "No cross-fade for Scat-2L-32H-GRU: sound is missing: the model was given features alone." in page
    assert "<title>Two systems &amp; a half</title>" in web
    assert "split <strong>test</strong>" in web


def test_every_picture_is_there_and_inside_the_html(written: Path) -> None:
    named = re.findall(r"!\[[^]]*\]\(plots/([^)]+)\)", (written / "report.md").read_text())
    assert sorted(named) == sorted(path.name for path in (written / "plots").iterdir())
    assert len(named) == 7
    inside = re.findall(r'src="([^"]+)"', (written / "report.html").read_text())
    assert len(inside) == len(named)
    for source in inside:
        picture = base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True)
        width, height = struct.unpack(">II", picture[16:24])
        assert picture.startswith(b"\x89PNG")
        assert min(width, height) > 200


def test_learning_curves_stand_together_as_in_the_papers_figures() -> None:
    def titles(*systems: str) -> list[str]:
        curve = {"epoch": [1, 2], "loss": [0.7, 0.5], "roc_auc": [0.6, 0.8]}
        results = [{"name": f"run {n}", "system": system, "course": curve} for n, system in enumerate(systems)]
        rows = plots.learning_curves(results, published.FIGURES).axes[::2]
        assert {line.get_label() for axes in rows for line in axes.get_lines()} == {r["name"] for r in results}
        return [axes.get_title(loc="left").removesuffix("training loss").removesuffix(", ") for axes in rows]

    five, six, seven = published.FIGURES
    assert titles("Scat-5L-512H-GRU", "Scat-5L-512H-GRU") == [""], "two recipes"
    assert titles("Scat-4L-256H-GRU", "Scat-4L-512H-LSTM") == [five]
    assert titles("Scat-4L-512H-GRU", "Scat-5L-512H-GRU", "Scat-4L-CNN", "Mel-4L-CNN") == [six, seven, "others"]


def test_names_cannot_break_the_page(written: Path) -> None:
    assert "slow <b>" not in (written / "report.html").read_text()
    assert "slow &lt;b&gt;|x" in (written / "report.html").read_text()


def test_the_paper_stands_beside_ours(results: list[dict[str, Any]]) -> None:
    text = sections.paper(results)
    ours = results[0]["scores"]["mean"]["roc_auc"]
    row = next(line for line in text.splitlines() if line.startswith("| Scat-5L-512H-GRU |"))
    assert f"| 7,776K | 7,776,306 | 0.909 | {ours:.3f} |" in row
    assert len([line for line in text.splitlines() if "K |" in line]) == 13
    missing = next(line for line in text.splitlines() if line.startswith("| Scat-6L-512H-GRU |"))
    assert "| 0.902 | – | – | 0 |" in missing
    assert next(line for line in text.splitlines() if line.startswith("| Scat-2L-32H-GRU |")).endswith(
        "| not in Table 2 |"
    )


@pytest.mark.usefixtures("no_plots")
def test_a_report_of_whole_clip_systems_has_no_streaming_section(results: list[dict[str, Any]], tmp_path: Path) -> None:
    whole = {**results[1], "streaming": {"missing": "it hears whole clips"}}
    whole["scores"] = {**whole["scores"], "learned": {"missing": "it needs more than one frame a clip"}}
    document.write([whole], tmp_path, "one")
    page = (tmp_path / "report.md").read_text()
    assert "As it is heard" not in page
    assert "No learned pooling where it needs more than one frame a clip." in page


@pytest.mark.usefixtures("no_plots")
def test_missing_and_damaged_figures_are_refused(tmp_path: Path, results: list[dict[str, Any]]) -> None:
    with pytest.raises(ManifestError, match="no figures"):
        document.read(tmp_path)
    (tmp_path / "figures.json").write_text('{"scores": 1}')
    with pytest.raises(ManifestError, match="not a list of results"):
        document.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        document.write(results[1:], tmp_path / "file", "x")


def test_runs_that_differ_by_more_than_the_seed_have_rows_of_their_own(results: list[dict[str, Any]]) -> None:
    def run(recipe: str, rate: float, seed: int) -> dict[str, Any]:
        return {**results[0], "name": f"Scat-5L-512H-GRU, {recipe}", "training": {"rate": rate, "seed": seed}}

    seeds = [run("best", 0.1, seed) for seed in (1, 2)]
    for runs, expected in (
        (seeds, [("Scat-5L-512H-GRU", "2")]),
        ([*seeds, run("paper", 0.2, 1)], [("Scat-5L-512H-GRU, best", "2"), ("Scat-5L-512H-GRU, paper", "1")]),
    ):
        rows = [row for row in sections.paper_rows(runs) if row[0].startswith("Scat-5L-512H-GRU")]
        assert [(row[0], row[6]) for row in rows] == expected
        assert [row[0] for row in sections.reproduction_rows(runs)] == [label for label, _ in expected]
