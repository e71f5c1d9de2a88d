"""How soon the page's Day view is there: from the navigation to the first bars, in Chromium, from a large history.

`python -m tests.benchmarks.day_view [--days 30] [--streams 16] [--runs 5]` prints the median and its parts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, expect

from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.history.sample import write_sample
from tests.web.conftest import HELLO, running_browser

TARGET_S = 1.0
TIMES = """() => {
  const resources = performance.getEntriesByType("resource");
  const code = resources.filter(each => each.name.endsWith(".js"));
  const request = resources.find(each => each.name.includes("/api/history"));
  return [performance.getEntriesByName("day painted")[0].startTime, Math.max(...code.map(each => each.responseEnd)),
          request.startTime, request.responseStart, request.responseEnd].map(ms => ms / 1000) }"""
NAMES = ("first bars", "code loaded", "asked", "answer begins", "answer complete")


def measure(browser: Browser, address: str) -> list[float]:
    """Return the times of NAMES since the navigation [s], in a browser that has nothing of the page yet."""
    with browser.new_context(viewport={"width": 1280, "height": 860}) as context:
        page = context.new_page()
        page.goto(f"{address}?view=day")
        expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false", timeout=60_000)
        while not page.evaluate('performance.getEntriesByName("day painted").length'):
            page.wait_for_timeout(10)
        times: list[float] = page.evaluate(TIMES)
        return times


def main(days: float, streams: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        write_sample(path, days, [f"radio {number:02d}" for number in range(1, streams + 1)], end_at=time.time())
        print(f"{days:g} days of {streams} streams: {path.stat().st_size / 1e6:.0f} MB", flush=True)

        def need(_: str, is_there: bool, reason: str) -> None:
            if not is_there:
                raise SystemExit(reason)

        with ServerThread(ServerConfig(port=0, history=path), HELLO) as server, running_browser(need) as browser:
            measure(browser, server.address)  # a browser that has just started is slow
            found = [measure(browser, server.address) for _ in range(runs)]
    for name, values in zip(NAMES, zip(*found, strict=True), strict=True):
        print(f"{name:16} {statistics.median(values):.3f} s   ({min(values):.3f} to {max(values):.3f})")
    median = statistics.median(each[0] for each in found)
    print(f"target {TARGET_S:g} s: {'met' if median < TARGET_S else 'MISSED'}, at a load of {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How soon the page's Day view is there.")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    main(**vars(parser.parse_args()))
