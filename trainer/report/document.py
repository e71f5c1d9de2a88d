"""Writing a report: a Markdown page with its pictures, and the same page as one HTML file.

DIR/figures.json      every number
DIR/report.md         the page, with pictures in DIR/plots/
DIR/report.html       the same in one file, for a browser
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from streamtag.errors import ManifestError
from trainer.files import report_write_errors, write_atomically
from trainer.report import plots, published, sections
from trainer.report.plots import Result, Results, png
from trainer.report.streaming import streaming

FIGURES = "figures.json"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #22262b; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem } img { max-width: 100% }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #e4e6e9; vertical-align: top } th { border-color: #8a8f98 }
"""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style>
{body}</html>
"""


def write(results: Results, folder: Path, title: str) -> None:
    """Write figures, Markdown, HTML and plots into `folder`. Raises OutputError if that fails."""
    pictures = {name: png(draw) for name, draw in _pictures(results)}
    page = markdown(results, title, pictures)
    with report_write_errors(folder):
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            write_atomically(folder / "plots" / name, picture)
        figures = json.dumps(list(results), indent=1, allow_nan=False) + "\n"
        write_atomically(folder / FIGURES, figures.encode())
        write_atomically(folder / "report.md", page.encode())
        write_atomically(folder / "report.html", as_html(page, title, pictures).encode())


def read(folder: Path) -> list[Result]:
    """Return the results of a report. Raises ManifestError for a folder without figures."""
    path = folder / FIGURES
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, list) or not all(isinstance(part, dict) and "scores" in part for part in found):
            raise ValueError("not a list of results")
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: no figures: {error}: run `python -m trainer evaluate` first") from error
    return found


def markdown(results: Results, title: str, pictures: Sequence[str] | dict[str, Any]) -> str:
    """Return the page; `pictures` are the names of the existing pictures."""
    return "\n\n".join(part for part in _parts(results, title, pictures) if part) + "\n"


def _parts(results: Results, title: str, pictures: Sequence[str] | dict[str, Any]) -> Iterator[str]:
    def picture(name: str, caption: str) -> str:
        return f"![{caption}](plots/{name})" if name in pictures else ""

    first = results[0]
    yield f"# {title}"
    yield from sections.data(results)
    yield sections.comparable(results)
    yield "## Scores"
    yield sections.scores(results)
    yield sections.by_kind(first)
    yield "## Beside the paper"
    yield sections.paper(results)
    if any("cost" in result for result in results):
        yield sections.table(sections.REPRODUCTION_HEADER, sections.reproduction_rows(results))
        yield sections.reproduction_remark(results)
    yield sections.others()
    if _streams(results):
        yield "## As it is heard"
        yield streaming(_streams(results))
        yield picture("heard.png", "score by the seconds heard")
        yield picture("song-change.png", "scores after a change of song, against the new and the old song's tags")
        yield picture("endless.png", "score by the minute of an endless stream")
    yield f"## Tags of {_best(results)['name']}" if len(results) > 1 else "## Tags"
    yield picture("tags.png", "scores by tag")
    yield sections.tags(_best(results))
    yield sections.not_scored(_best(results))
    yield "## Calibration"
    yield picture("reliability.png", "share of given tags by predicted probability")
    yield "## Tags taken for each other"
    yield sections.confusions(_best(results))
    yield picture("confusion.png", "tags heard where others are")
    if "learning-curves.png" in pictures:
        yield "## Training"
        yield picture("learning-curves.png", "loss and validation score by epoch, as in the paper's Figures 5 to 7")


def as_html(page: str, title: str, pictures: dict[str, bytes]) -> str:
    """Return the page as HTML with its pictures embedded."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(page)
    for name, picture in pictures.items():
        embedded = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        body = body.replace(f'src="plots/{name}"', f'src="{embedded}"')
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    return PAGE.format(title=html.escape(title), style=STYLE, body=body)


def _pictures(results: Results) -> Iterator[tuple[str, Callable[[], Any]]]:
    streams = _streams(results)
    endless = [result for result in streams if "endless" in result["streaming"]]
    trained = [result for result in results if result.get("course")]
    best = _best(results)
    if streams:
        yield "heard.png", lambda: plots.by_seconds_heard(streams)
        yield "song-change.png", lambda: plots.after_a_song_change(streams)
    if endless:
        yield "endless.png", lambda: plots.in_an_endless_stream(endless)
    yield "tags.png", lambda: plots.by_tag(best)
    yield "reliability.png", lambda: plots.reliability(results)
    yield "confusion.png", lambda: plots.taken_for_each_other(best)
    if trained:
        yield "learning-curves.png", lambda: plots.learning_curves(trained, published.FIGURES)


def _streams(results: Results) -> list[Result]:
    return [result for result in results if "heard" in result["streaming"]]


def _best(results: Results) -> Result:
    """Return the result whose tags are shown."""
    return max(results, key=lambda result: sections.clip_scores(result)["roc_auc"] or 0.0)
