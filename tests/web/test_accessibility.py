"""What axe-core finds in every state of the page, light and dark: nothing."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.conftest import Need
from tests.web.scenes import SCENES, Stage

pytestmark = pytest.mark.slow

AXE = "axe-core@4.10.3"
RUN = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.flatMap(
  ({id, help, nodes}) => nodes.map(node => `${id}: ${help}: ${node.target}: ${node.failureSummary}`))"""


@pytest.fixture(scope="session")
def axe(need: Need, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, fetched by npm."""
    npm = shutil.which("npm")
    need("axe", npm is not None, "needs npm, which fetches axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [str(npm), "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", AXE]
    fetched = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    need("axe", fetched.returncode == 0, f"cannot fetch axe-core: {fetched.stderr[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[str]:
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(f"{axe}; 0")
    found: list[Any] = page.evaluate(RUN)
    return [str(line) for line in found]


@pytest.mark.parametrize("scene", SCENES)
def test_no_state_of_the_page_violates_a_rule(stage: Stage, axe: str, scene: str) -> None:
    page = stage.show(scene, color_scheme="light")
    assert violations(page, axe) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, axe) == []


def test_a_violation_is_found(stage: Stage, axe: str) -> None:
    page = stage.show("one stream")
    page.evaluate("filter => filter.closest('label').replaceWith(filter)", page.locator("#filter").element_handle())
    page.evaluate("document.documentElement.style.setProperty('--soft', '#333')")
    page.emulate_media(color_scheme="dark")
    found = " ".join(violations(page, axe))
    assert "color-contrast" in found
    page.locator("#filter").evaluate("filter => { filter.placeholder = filter.title = '' }")
    assert "label" in " ".join(violations(page, axe))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scene", ["one stream", "all streams", "a file is played", "hour"])
def test_every_tab_stop_is_visible_and_shows_the_focus(stage: Stage, scene: str, scheme: str) -> None:
    page = stage.show(scene, color_scheme=scheme)
    page.locator("#stream").focus()
    page.keyboard.press("Shift+Tab")
    seen: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        while page.evaluate("document.activeElement.type") == "date" and "day-date" in seen:  # its parts are stops, too
            page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => { const at = document.activeElement, style = getComputedStyle(at);
                       const box = at.getBoundingClientRect();
                       return [at.id || at.className + " " + at.innerText, at === document.body,
                               box.width > 0 && box.height > 0 && style.outlineStyle === "solid"] }"""
        )
        if stop[1] or stop[0] in seen:
            break
        seen.append(stop[0])
        assert stop[2], f"{stop[0]} shows no focus"
    order = ["stream", "filter", "kind", "save-lines"]
    if scene == "hour":
        order = ["stream", "day", "day-back", "day-date", "day-on", "day-out", "day-last", "day-time", "moment-close"]
    assert [name for name in seen if name in order] == order
    extra = {"one stream": "freeze", "all streams": "theme", "a file is played": "play", "hour": "help"}[scene]
    assert extra in seen
