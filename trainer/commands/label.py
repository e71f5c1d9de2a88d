"""The command `label`: a data set whose targets are the predictions of public taggers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainer.commands import options


def command(
    folders: Annotated[
        list[Path], typer.Argument(help="data sets, folders with tracks.csv and audio/, or any folders of sound files")
    ],
    teachers: Annotated[Path, typer.Option(help="the weights of the taggers: teachers.safetensors")],
    out: Annotated[Path, typer.Option(help="the labelled data set; an interrupted run goes on")],
    use: Annotated[
        str, typer.Option(help="names of taggers in that file, which are averaged")
    ] = "mtat-fcn,mtat-crnn,mtat-musicnn",
    passes: Annotated[int, typer.Option(min=0, max=99, help="over the training recordings, each crop changed")] = 0,
    crops: Annotated[int, typer.Option(min=1, help="of one recording in one pass, at most")] = 4,
    kind: Annotated[list[str] | None, typer.Option(help="change only this kind; repeatable")] = None,
    precision: Annotated[
        str, typer.Option(help="of the taggers: float32, or bfloat16 where the processor has units for it")
    ] = "bfloat16",
    seed: options.Seed = 1,
    workers: options.Workers = options.CORES,
) -> None:
    """Label recordings with public taggers, unchanged and changed; goes on where it was stopped.

    The result is a data set for `prepare` and `train`: 29 s crops of the recordings, and in each pass crops from
    other places, changed in speed, equalization, reverb, codec and noise, or mixed with another recording. The
    taggers label the changed audio itself.
    """
    import torch

    from streamtag.errors import SpecError
    from trainer.commands.tables import progress_bar
    from trainer.label.labelling import LabelPlan, label
    from trainer.label.recordings import read_recordings
    from trainer.train.config import PRECISIONS
    from trainer.train.device import product_dtype

    if precision not in PRECISIONS:
        raise SpecError(f"--precision {precision}: not one of {', '.join(PRECISIONS)}")
    used = str(product_dtype(precision, torch.device("cpu"))).removeprefix("torch.")
    names = tuple(options.split_list(use))
    plan = LabelPlan(out, read_recordings(folders), teachers, names, passes, crops, tuple(kind or ()), seed, used)
    with progress_bar() as progress:
        task = progress.add_task("label", total=None)
        for done, total in label(plan, workers):
            progress.update(task, completed=done, total=total)
        progress.console.print(f"{out}: {total:,} clips", markup=False, highlight=False, soft_wrap=True)
