"""`reproduce`: the paper's table, trained and scored anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.commands import options

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from trainer.reproduce import TaskUpdate


def command(
    folder: options.Folder,
    out: Annotated[Path, typer.Option(help="folder for the runs, one a system and seed, and their report")],
    systems: Annotated[
        str | None, typer.Option(help="separated by commas; default: all of the paper's Table 2")
    ] = None,
    seeds: Annotated[str, typer.Option(help="separated by commas; each trains every system once more")] = "1",
    recipe: Annotated[str, typer.Option(help="paper: as printed; best: ours")] = "paper",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE in place of the recipe's, e.g. epochs=50; repeatable")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="hours after which no epoch begins any more")] = None,
    cache: options.CacheFolder = None,
    passes: Annotated[int, typer.Option(min=0, max=99, help="augmented passes to learn from, beside the clips")] = 0,
    seed: options.Seed = 1,
    split: Annotated[str | None, typer.Option(help="to score on; default: test, or valid if there is no test")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: options.Threads = options.CORES,
    draws: Annotated[int, typer.Option(min=1, help="of artists, for the intervals")] = 1000,
    minutes: Annotated[int, typer.Option(min=0, help="of an endless stream; 0 leaves it out")] = 60,
) -> None:
    """Train and score every system of the paper, and print the table beside the paper's.

    What is done is not done again; what was stopped goes on.
    """
    import torch
    from rich.console import Console

    from trainer import reproduce
    from trainer.commands.progress import progress_bar
    from trainer.commands.tables import print_reproduction
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.systems import TABLE_2
    from trainer.train.distributed import open_device

    torch.set_num_threads(threads)
    data = read_dataset(folder)
    names = _words(systems) if systems else list(TABLE_2)
    wanted = reproduce.tasks(out, names, [_number(word) for word in _words(seeds)], recipe, setting or [])
    place = reproduce.ReproduceConfig(
        data, options.cache_folder(folder, cache), seed, passes, open_device(device),
        split or figures.final_split(data), figures.Options.up_to(minutes, draws),
    )  # fmt: skip
    with progress_bar() as progress:
        bar = progress.add_task("systems", total=len(wanted), completed=sum(t.result() is not None for t in wanted))
        spent = None if budget is None else 3600 * budget
        for news in reproduce.run_tasks(wanted, place, spent, lambda words: progress.update(bar, description=words)):
            _say(news, progress, bar)
    results = reproduce.report(wanted, out)
    print_reproduction(results, {task.name: task.epochs for task in wanted if task.result() is None})
    if results:
        Console(stderr=True).print(f"report: {out / 'report' / 'report.html'}", soft_wrap=True)


def _say(news: TaskUpdate, progress: Progress, bar: TaskID) -> None:
    name, epoch = news.task.name, news.epoch
    if epoch:
        words = f"{name}: epoch {epoch.epoch} of {news.task.config.epochs}"
        progress.update(bar, description=words)
        progress.console.print(
            f"{words}: loss {epoch.loss:.4f}, validation ROC-AUC {epoch.roc_auc:.4f}, {epoch.seconds:.1f} s"
        )
    elif news.result:
        progress.advance(bar)
        progress.console.print(f"{name}: {news.result['split']} ROC-AUC {news.result['scores']['mean']['roc_auc']}")
    else:
        progress.console.print(f"{name}: the time is up; the same command goes on from here")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(word: str) -> int:
    from streamtag.errors import SpecError

    try:
        return int(word)
    except ValueError as error:
        raise SpecError(f"--seeds: {word!r} is no whole number") from error
