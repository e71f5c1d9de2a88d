"""`train`: one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.commands import options


def command(
    folder: options.Folder,
    out: Annotated[Path, typer.Option(help="folder of the run; an interrupted run goes on")],
    cache: options.CacheFolder = None,
    passes: options.Passes = 8,
    seed: options.Seed = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: options.Threads = options.CORES,
    start: Annotated[Path | None, typer.Option(help="another run's folder: begin with its best weights")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of TrainConfig, e.g. epochs=50")
    ] = None,
) -> None:
    """Train on the features, validating after every epoch."""
    import torch

    from trainer.commands.progress import progress_bar
    from trainer.config import parse_settings
    from trainer.features import Cache
    from trainer.manifest import read_dataset
    from trainer.train import Run, load_data

    config = parse_settings(setting or [])
    torch.set_num_threads(threads)
    data = read_dataset(folder)
    store = Cache(options.cache_folder(folder, cache), data, "scattering", seed)
    with progress_bar() as progress:
        task = progress.add_task("reading", total=len(data.split("train")) + len(data.split("valid")))
        loaded = load_data(store, config, passes, lambda: progress.advance(task))
        run = Run(out, config, loaded, device, start)
        (out / "data.json").write_text(json.dumps({"data": str(folder.resolve())}) + "\n")
        task = progress.add_task("epochs", total=config.epochs, completed=run.epoch)
        for epoch in run.epochs():
            progress.console.print(
                f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, validation ROC-AUC {epoch.roc_auc:.4f},"
                f" PR-AUC {epoch.pr_auc:.4f}, after 3 s {epoch.roc_auc_3s:.4f}, {epoch.seconds:.1f} s"
            )
            progress.update(task, completed=epoch.epoch)
    print(json.dumps({"best_epoch": run.best_epoch, "roc_auc": round(run.best, 4)}))
