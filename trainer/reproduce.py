"""Training and scoring the paper's table: one folder per system and seed, which can be interrupted and continued.

OUT/SYSTEM/seed-1/               the run, as `train` writes it
OUT/SYSTEM/seed-1/evaluation/    its report and figures; once they exist, the run is done
OUT/report/                      a report of all finished runs

The figures of a run are those of `evaluate`, its cost, and, if there are tracks with human tags, its score against
them as a model file, which hears every track as a stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache as cached
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from streamtag.errors import ManifestError, OutputError
from streamtag.model import TaggerNetwork, load_tagger, save_tagger
from trainer.bench import cost
from trainer.data.manifest import TRAIN, Manifest
from trainer.evaluate import figures
from trainer.evaluate.evaluated_model import from_run
from trainer.export import build
from trainer.features.cache import Cache
from trainer.files import first_difference
from trainer.human.figures import TrackScores
from trainer.human.figures import evaluate as against_people
from trainer.human.predictions import from_tagger, predict_tracks
from trainer.human.tracks import TrackFolder
from trainer.report import document
from trainer.run import DataSource, check_settings, load_run
from trainer.train.config import TrainConfig, complete, with_settings
from trainer.train.dataset import TrainingData, load_data
from trainer.train.log import LOG, Epoch
from trainer.train.loop import Run
from trainer.train.recipes import recipe

EVALUATION, COST, HUMAN = "evaluation", "cost", "human"  # the folder of figures, and some of their names


@dataclass(frozen=True)
class Task:
    """One system with one seed. `name` stands for it in tables."""

    name: str
    config: TrainConfig
    folder: Path

    def result(self) -> dict[str, Any] | None:
        """Return its figures, or None if it is not done. Raises OutputError if they belong to other settings."""
        if not (self.folder / EVALUATION / document.FIGURES).exists():
            return None
        found = document.read(self.folder / EVALUATION)[0]
        if difference := first_difference(complete(found["training"]), self.config.to_dict()):
            raise OutputError(f"{self.folder}: was trained with {difference}: name another folder")
        return found

    @property
    def epochs(self) -> int:
        """Return the number of epochs in its log."""
        log = self.folder / LOG
        return max(0, len(log.read_text().splitlines()) - 1) if log.exists() else 0


@dataclass(frozen=True)
class ReproduceConfig:
    """Data, device and evaluation of all tasks.

    `passes`: augmented passes to learn from. `tracks`: with human tags, to be scored against, or None.
    """

    data: Manifest
    cache: Path
    cache_seed: int
    passes: int
    device: torch.device
    split: str
    options: figures.Options
    tracks: TrackFolder | None = None

    def check_artists(self) -> None:
        """Raise ManifestError if a system would learn from an artist whose tracks it is scored against."""
        learned = {clip.artist for clip in self.data.clips if clip.split == TRAIN}
        if self.tracks and (both := sorted(learned.intersection(self.tracks.artists))):
            raise ManifestError(
                f"{self.data.root}: {len(both)} artists of {self.tracks.root} are in its training split,"
                f" {both[0]} for one: scores against their tags would say nothing"
            )

    def missing(self, task: Task) -> set[str]:
        """Return the names of the figures that a task still lacks."""
        wanted = {"scores", COST} | ({HUMAN} if self.tracks else set())
        return wanted - (task.result() or {}).keys()

    def source(self, task: Task) -> DataSource:
        """Return what a task learns from."""
        return DataSource(str(self.data.root.resolve()), task.config.plan.front, self.cache_seed, self.passes)


@dataclass(frozen=True)
class TaskUpdate:
    """Progress of a task: an epoch, figures, or neither, when the time budget is spent."""

    task: Task
    epoch: Epoch | None = None
    result: dict[str, Any] | None = None


def make_tasks(out: Path, systems: Sequence[str], seeds: Sequence[int], name: str, settings: list[str]) -> list[Task]:
    """Return all systems with the first seed, then with the next. Raises SpecError for unknown names and settings."""
    tasks = []
    for seed in seeds:
        for system in systems:
            config = replace(with_settings(recipe(name, system), settings), seed=seed)
            parts = [system, *([name] if name != "best" else []), *([f"seed {seed}"] if len(seeds) > 1 else [])]
            tasks.append(Task(", ".join(parts), config, out / system / f"seed-{seed}"))
    return tasks


def run_tasks(
    tasks: Sequence[Task],
    config: ReproduceConfig,
    budget_s: float | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[TaskUpdate]:
    """Train and evaluate unfinished tasks until the time budget is spent; no epoch begins after that.

    Interrupted tasks are continued. Raises, before anything is trained, OutputError if a folder contains another run,
    and ManifestError as `check_artists`.
    """
    config.check_artists()
    start = clock()

    def is_spent() -> bool:
        return budget_s is not None and clock() - start >= budget_s

    unfinished = [task for task in tasks if config.missing(task)]
    for task in tasks:
        config.source(task).check(task.folder)
    for task in unfinished:
        check_settings(task.folder, task.config)
    for task in unfinished:
        if is_spent():
            yield TaskUpdate(task)
            return
        cache = Cache(config.cache, config.data, task.config.plan.front, config.cache_seed)
        on_stage(f"{task.name}: reading")
        data = cached(partial(load_data, cache, task.config, config.passes, lambda: None))
        if task.result() is None:
            learned = data()
            config.source(task).write(task.folder)
            run = Run(task.folder, task.config, learned, config.device)
            for epoch in run.epochs():
                yield TaskUpdate(task, epoch)
                if is_spent() and not run.has_finished:
                    yield TaskUpdate(task)
                    return
        yield TaskUpdate(task, result=_evaluate(task, cache, data, config, on_stage))


def _evaluate(
    task: Task,
    cache: Cache,
    load: Callable[[], TrainingData],
    config: ReproduceConfig,
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    """Return all figures of a trained task. Those that it has are kept, others are written as soon as they exist.

    load: what it learned from, which only the cost needs.
    """
    result, missing = task.result() or {}, config.missing(task)

    def add(part: dict[str, Any]) -> None:
        result.update(part)
        document.write([result], task.folder / EVALUATION, f"{task.name} on {result['data']}")

    if "scores" in missing:
        model = from_run(load_run(task.folder).to(config.device), cache, task.folder, task.name)
        options = replace(config.options, pooling=task.config.pooling)
        stages = (cache.manifest, config.split, options, lambda stage: on_stage(f"{task.name}: {stage}"))
        add(figures.evaluate(model, *stages)[0])
    tagger = _as_file(build(task.folder, cache.manifest, {}))
    if COST in missing:
        on_stage(f"{task.name}: cost")
        training_s, memory = cost.training_cost(task.config, load(), config.device)
        add({COST: {"training_s": training_s, "training_bytes": memory, "stream_s": cost.stream_s(tagger)}})
    if HUMAN in missing and config.tracks:
        on_stage(f"{task.name}: hearing {len(config.tracks)} tracks with human tags")
        heard = predict_tracks(from_tagger(tagger.to(config.device), task.name), config.tracks.tracks, lambda: None)
        scores = TrackScores.of(tagger.tags, heard)
        add({HUMAN: against_people(scores, config.tracks, config.options.draws)})
    return result


def _as_file(tagger: TaggerNetwork) -> TaggerNetwork:
    """Return the tagger as users get it, with weights in half precision."""
    with TemporaryDirectory() as folder:
        save_tagger(tagger, path := Path(folder) / "model.safetensors")
        return load_tagger(path)


def write_report(tasks: Sequence[Task], out: Path) -> list[dict[str, Any]]:
    """Write OUT/report/ of all finished tasks, and return their figures."""
    results = [result for task in tasks if (result := task.result())]
    if results:
        document.write(results, out / "report", "The systems of the paper, trained anew")
    return results
