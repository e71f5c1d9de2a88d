"""The paper's table, trained and scored anew: one folder a system and seed, that can be stopped and gone on with.

OUT/SYSTEM/seed-1/               the run, as `train` leaves it
OUT/SYSTEM/seed-1/evaluation/    its report and figures; once they are there, the run is done
OUT/report/                      all that is done, on one page
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from streamtag.errors import SpecError
from trainer.data.manifest import Manifest
from trainer.evaluate import figures
from trainer.evaluate.evaluated_model import of_run
from trainer.features.cache import Cache
from trainer.report import document
from trainer.run import load_run
from trainer.train.config import TrainConfig, with_settings
from trainer.train.data import load_data
from trainer.train.log import Epoch
from trainer.train.loop import SETTINGS, Run
from trainer.train.recipes import recipe

EVALUATION = "evaluation"


@dataclass(frozen=True)
class Task:
    """One system with one seed. name: what it is called in tables."""

    name: str
    config: TrainConfig
    folder: Path

    def result(self) -> dict[str, Any] | None:
        """Its figures; None if it is not done. Raises SpecError if they are of other settings."""
        if not (self.folder / EVALUATION / document.FIGURES).exists():
            return None
        found = document.read(self.folder / EVALUATION)[0]
        for name, wanted in self.config.to_dict().items():
            if (old := found["training"].get(name)) != wanted:
                raise SpecError(f"{self.folder}: was trained with {name} = {old}, not {wanted}: name another folder")
        return found

    @property
    def epochs(self) -> int:
        """How many its log has."""
        log = self.folder / "log.csv"
        return max(0, len(log.read_text().splitlines()) - 1) if log.exists() else 0


@dataclass(frozen=True)
class ReproduceConfig:
    """Where it happens. passes: augmented ones to learn from; None: all that are prepared."""

    data: Manifest
    cache: Path
    cache_seed: int
    passes: int | None
    device: torch.device
    split: str
    options: figures.Options


@dataclass(frozen=True)
class TaskUpdate:
    """What has just happened to a task: an epoch, figures, or neither: the time was up."""

    task: Task
    epoch: Epoch | None = None
    result: dict[str, Any] | None = None


def tasks(out: Path, systems: Sequence[str], seeds: Sequence[int], name: str, settings: list[str]) -> list[Task]:
    """All systems with the first seed, then all with the next. Raises SpecError for unknown names and settings."""
    made = []
    for seed in seeds:
        for system in systems:
            config = replace(with_settings(recipe(name, system), settings), seed=seed)
            called = system if len(seeds) == 1 else f"{system}, seed {seed}"
            made.append(Task(called, config, out / system / f"seed-{seed}"))
    return made


def run_tasks(
    wanted: Sequence[Task],
    place: ReproduceConfig,
    budget_s: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[TaskUpdate]:
    """Train and evaluate what is not done, until the budget is spent: no epoch begins after that.

    What was begun goes on where it was stopped. Raises SpecError, before anything is trained, if a folder holds
    something else.
    """
    began = clock()
    open_ones = [task for task in wanted if task.result() is None]
    for task in open_ones:
        _check(task)
    for task in open_ones:
        if budget_s is not None and clock() - began >= budget_s:
            yield TaskUpdate(task)
            return
        cache = Cache(place.cache, place.data, task.config.plan.front, place.cache_seed)
        tell(f"{task.name}: reading")
        passes = cache.passes() if place.passes is None else place.passes
        run = Run(task.folder, task.config, load_data(cache, task.config, passes, lambda: None), place.device)
        facts = {
            "data": str(place.data.root.resolve()), "front": cache.front.name, "seed": place.cache_seed,
            "passes": passes,
        }  # fmt: skip
        (task.folder / "data.json").write_text(json.dumps(facts) + "\n")
        for epoch in run.epochs():
            yield TaskUpdate(task, epoch)
            if budget_s is not None and clock() - began >= budget_s and not _finished(run):
                yield TaskUpdate(task)
                return
        yield TaskUpdate(task, result=_evaluate(task, cache, place, tell))


def _finished(run: Run) -> bool:
    return run.epoch >= run.config.epochs or run.epoch - run.best_epoch >= run.config.patience


def _check(task: Task) -> None:
    """Raises SpecError if the folder holds a run with other settings, before hours are spent on those before it."""
    settings = task.folder / SETTINGS
    if not settings.exists():
        return
    found = json.loads(settings.read_text())
    for name, wanted in task.config.to_dict().items():
        if found.get(name) != wanted:
            raise SpecError(f"{task.folder}: holds a run with {name} = {found.get(name)}, not {wanted}: name another")


def _evaluate(task: Task, cache: Cache, place: ReproduceConfig, tell: Callable[[str], None]) -> dict[str, Any]:
    trained = load_run(task.folder).to(place.device)
    subject = of_run(trained, cache, task.folder, task.name)
    told = figures.evaluate(
        subject, cache.manifest, place.split, place.options, lambda words: tell(f"{task.name}: {words}")
    )
    document.write([told[0]], task.folder / EVALUATION, f"{task.name} on {told[0]['data']}")
    return told[0]


def report(wanted: Sequence[Task], out: Path) -> list[dict[str, Any]]:
    """Write OUT/report/ of all that is done, and return it."""
    results = [result for task in wanted if (result := task.result())]
    if results:
        document.write(results, out / "report", "The systems of the paper, trained anew")
    return results
