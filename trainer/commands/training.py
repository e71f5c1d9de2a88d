"""What `train` does: data, device and processes are opened, the run goes on, the terminal hears of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.progress import Progress

from streamtag.errors import OutputError, SpecError
from trainer.commands.progress import progress_bar
from trainer.data.dataset import read_dataset
from trainer.features.cache import Cache
from trainer.train.config import TrainConfig
from trainer.train.data import load_data
from trainer.train.distributed import distributed_group, open_device
from trainer.train.log import Epoch
from trainer.train.loop import Run


@dataclass(frozen=True)
class TrainRequest:
    """The words of the command line. passes: None for all that are prepared."""

    folder: Path
    cache: Path
    seed: int
    passes: int | None
    out: Path
    config: TrainConfig
    device: str
    threads: int
    start: Path | None


@dataclass(frozen=True)
class Facts:
    """RUN/data.json: the data set and what of its cache the run learns from."""

    data: str
    front: str
    seed: int
    passes: int


def run(request: TrainRequest) -> None:
    """Raises SpecError if the run's folder was begun with other data."""
    torch.set_num_threads(request.threads)
    device, config = open_device(request.device), request.config
    front = config.plan.front
    store = Cache(request.cache, read_dataset(request.folder), front, request.seed)
    passes = store.passes() if request.passes is None else request.passes
    facts = Facts(str(request.folder.resolve()), front, request.seed, passes)
    progress = progress_bar()
    with distributed_group(device) as group:
        _keep(facts, request, group.first)
        progress.disable = not group.first  # before it begins: one that is silenced later never ends its thread
        with progress:
            task = progress.add_task("reading", total=len(store.manifest.split("train")))
            data = load_data(store, config, passes, lambda: progress.advance(task))
            best_epoch, best = _train(Run(request.out, config, data, device, request.start, group), progress)
        if group.first:
            print(json.dumps({"best_epoch": best_epoch, "roc_auc": round(best, 4)}))


def _train(one: Run, progress: Progress) -> tuple[int, float]:
    """To its end -> the best epoch, its ROC-AUC. The run lives here alone, so it is gone before its group ends."""
    total = one.config.epochs * one.batches.steps()
    task = progress.add_task(one.config.system, total=total, completed=one.step)
    for epoch in one.epochs(lambda: progress.update(task, completed=one.step)):
        if one.group.first:
            progress.console.print(_line(epoch))
    return one.best_epoch, one.best


def _keep(facts: Facts, request: TrainRequest, first: bool) -> None:
    path = request.out / "data.json"
    try:
        if not path.exists():
            if first:
                request.out.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(asdict(facts)) + "\n")
            return
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be used: {error}") from error
    for name, wanted in asdict(facts).items():
        if name != "data" and found.get(name) != wanted:  # a data set may be moved
            raise SpecError(
                f"{request.out}: was begun with {name} = {found.get(name)}, not {wanted}: name another folder"
            )


def _line(epoch: Epoch) -> str:
    return (
        f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, validation ROC-AUC {epoch.roc_auc:.4f},"
        f" PR-AUC {epoch.pr_auc:.4f}, after 3 s {epoch.roc_auc_3s:.4f}, {epoch.seconds:.1f} s"
    )
