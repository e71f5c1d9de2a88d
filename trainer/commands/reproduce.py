"""The command `reproduce`: the paper's table, trained and scored anew."""

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
    recipe: options.Recipe = "paper",
    setting: options.Settings = None,
    budget: Annotated[float | None, typer.Option(min=0, help="hours after which no epoch begins any more")] = None,
    cache: options.CacheFolder = None,
    passes: Annotated[int, typer.Option(min=0, max=99, help="augmented passes to learn from, beside the clips")] = 0,
    seed: options.Seed = 1,
    tracks: Annotated[
        Path | None,
        typer.Option(help="also score against people: a folder as `human` has it, of artists that are not learned"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="to score on; default: test, or valid if there is no test")] = None,
    device: options.Device = "auto",
    threads: options.Threads = options.CORES,
    draws: options.Draws = 1000,
    minutes: options.Minutes = 60,
) -> None:
    """Train and score every system of the paper, and print the table beside the paper's.

    For each system: parameters; the paper's ROC-AUC; ours on the split, where
    soft targets make it the agreement with whoever labelled them; against
    people's tags, of whole tracks and of their first 3 s; the time and memory
    of its training; and how many times as fast as real time it streams on one
    thread.

    What is done is not done again; what was stopped goes on.
    """
    import torch
    from rich.console import Console

    from trainer import reproduce
    from trainer.commands.tables import print_reproduction, progress_bar
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.human.tracks import read_tracks
    from trainer.systems import TABLE_2
    from trainer.train.device import fallback_note, open_device

    torch.set_num_threads(threads)
    data = read_dataset(folder)
    names = options.split_list(systems) if systems else list(TABLE_2)
    tasks = reproduce.make_tasks(out, names, options.split_integers("--seeds", seeds), recipe, setting or [])
    scored = read_tracks(tracks).tagged() if tracks else None
    config = reproduce.ReproduceConfig(
        data, options.cache_folder(folder, cache), seed, passes, open_device(device),
        split or figures.final_split(data), figures.Options.up_to(minutes, draws), scored,
    )  # fmt: skip
    with progress_bar() as progress:
        bar = progress.add_task("systems", total=len(tasks), completed=sum(not config.missing(task) for task in tasks))
        budget_s = None if budget is None else 3600 * budget
        for note in {fallback_note(task.config.precision, config.device) for task in tasks} - {""}:
            progress.console.print(note)
        for update in reproduce.run_tasks(tasks, config, budget_s, lambda text: progress.update(bar, description=text)):
            _show(update, progress, bar)
    results = reproduce.write_report(tasks, out)
    print_reproduction(results, {task.name: task.epochs for task in tasks if config.missing(task)})
    if results:
        Console(stderr=True).print(f"report: {out / 'report' / 'report.html'}", soft_wrap=True)


def _show(update: TaskUpdate, progress: Progress, bar: TaskID) -> None:
    name, epoch = update.task.name, update.epoch
    if epoch:
        text = f"{name}: epoch {epoch.epoch} of {update.task.config.epochs}"
        progress.update(bar, description=text)
        progress.console.print(
            f"{text}: loss {epoch.loss:.4f}, validation ROC-AUC {epoch.roc_auc:.4f}, {epoch.seconds:.1f} s"
        )
    elif result := update.result:
        from trainer.report.sections import clip_scores

        progress.advance(bar)
        progress.console.print(f"{name}: {result['split']} ROC-AUC {clip_scores(result)['roc_auc']}")
    else:
        progress.console.print(f"{name}: the time is up; the same command goes on from here")
