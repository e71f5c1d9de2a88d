"""What the page shows in each of its states, as accessibility snapshots and boxes, on a desktop and on a phone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.renderings import check_rendering, is_rewriting, picture_folder
from tests.web.conftest import settle
from tests.web.scenes import SCENES, Stage

pytestmark = pytest.mark.slow

SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
PARTS = (
    *(".top", "#sources", ".above", "#clock", "#present", "#player", "#tools", "#overview", "#board", "#rows", "#time"),
    *("#stats", ".card >> nth=0", "#empty", "#notes"),
    *(
        ".day-tools",
        "#day-head",
        "#day-time",
        ".day-section >> nth=0",
        ".day-rows canvas >> nth=0",
        "#day-moment",
    ),
)
TEXT_WIDTH = """() => { const pen = document.createElement("canvas").getContext("2d");
  pen.font = `16px ${getComputedStyle(document.body).fontFamily}`;
  return Math.round(pen.measureText("No two fonts are as wide as each other 0123456789").width) }"""


def boxes(page: Page) -> str:
    lines = [f"{'font':14} {page.evaluate(TEXT_WIDTH)} wide"]
    for part in PARTS:
        box = page.locator(part).bounding_box() if page.locator(part).is_visible() else None
        if box is not None:
            name = part.partition(" ")[0]
            x, y, width, height = (round(box[key]) for key in ("x", "y", "width", "height"))
            lines.append(f"{name:14} {width:4} x {height:4} at {x:4}, {y:4}")
    return "\n".join(lines)


def snapshot(page: Page) -> str:
    """The page as a screen reader gets it, without what is different every time."""
    text = page.locator("body").aria_snapshot()
    text = re.sub(r"\d+ \(\d+\.\d+\sMB\)", "N (N MB)", text)  # messages kept
    text = re.sub(r"tagged in [\d.]+ s", "tagged in N s", text)
    return re.sub(r"\d+ × real time", "N × real time", re.sub(r"retry in \d+ s", "retry in N s", text))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scene", SCENES)
def test_the_page_is_rendered_as_before(stage: Stage, scene: str, size: str) -> None:
    width, height = SIZES[size]
    page = stage.show(scene, color_scheme="light", viewport={"width": width, "height": height})
    settle(page)
    name = f"{scene.replace(' ', '_')}-{size}"
    folder = picture_folder()
    for scheme in ("light", "dark") if folder is not None else ():
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        page.screenshot(path=f"{folder}/{name}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    golden = Path(__file__).parent / "renderings"
    check_rendering(golden / f"{name}.aria.txt", snapshot(page))
    measured, kept = boxes(page), golden / f"{name}.boxes.txt"
    has_same_font = kept.is_file() and kept.read_text(encoding="utf-8").startswith(measured.partition("\n")[0])
    if has_same_font or is_rewriting():  # with other fonts the boxes say nothing
        check_rendering(kept, measured)
