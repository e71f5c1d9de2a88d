"""Part a: the tests marked `cuda`, one result each, written as soon as it is known."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from tests.benchmarks.gpu_parts.report import DONE, PROBLEM, Report
from tests.benchmarks.gpu_parts.settings import ROOT, Settings

FOLDER = "tests/device"


class _Reporter:
    """Writes the outcome of each test. A test that is skipped counts as skipped, never as passed."""

    def __init__(self, report: Report, skips_are_problems: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self._report, self._skips_are_problems = report, skips_are_problems

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        if report.when == "teardown" and report.outcome == "skipped":
            return
        self.outcomes[report.outcome] += 1
        name = report.nodeid.removeprefix(f"{FOLDER}/")
        figures: dict[str, Any] = {"outcome": report.outcome, "seconds": report.duration}
        if report.outcome == "failed":
            figures[PROBLEM] = report.longreprtext.strip().splitlines()[-1]
        elif report.outcome == "skipped" and self._skips_are_problems:
            figures[PROBLEM] = "was not run"
        self._report.write(name, **figures)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes["failed"] += 1
            self._report.write(report.nodeid, **{PROBLEM: report.longreprtext.strip().splitlines()[-1]})


def run(report: Report, settings: Settings) -> None:
    os.chdir(ROOT)
    reporter = _Reporter(report, skips_are_problems=not settings.is_dry)
    # without the options of pyproject.toml, which need plugins; a warning of a library must not hide a result
    own = ["-o", "addopts=", "-o", "filterwarnings=default", "-p", "no:cacheprovider", "--import-mode=importlib"]
    code = pytest.main([FOLDER, "-m", "cuda", "-q", "--tb=short", *own], plugins=[reporter])
    counts = {name: reporter.outcomes[name] for name in ("passed", "failed", "skipped")}
    if not sum(counts.values()):
        report.write("collection", **{PROBLEM: f"no test was found: pytest's exit code is {int(code)}"})
    report.write(DONE, **counts)
