"""The command `systems`: the list of systems that can be trained."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from trainer.commands import options
from trainer.data.magnatagatune import TAGS


def command(
    as_json: options.AsJson = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="what it says and leaves open of their training, and what we chose")
    ] = False,
) -> None:
    """List the systems: input, parameters, whether they read frames or windows, and what the paper reports of them."""
    if paper:
        _print_decisions(as_json)
        return
    from rich.console import Console
    from rich.table import Table

    from trainer.systems import SYSTEMS
    from trainer.systems.stacks import WINDOW_S

    rows = [
        {
            "name": system.name,
            "front": system.front,
            "inputs": system.inputs,
            "layers": system.layers,
            "hidden": system.hidden,
            "cell": system.cell,
            "parameters": system.parameters(system.inputs, TAGS),
            "window_s": 0.0 if system.reads_frames else WINDOW_S,
            "published_parameters_k": system.published.parameters_k if system.published else None,
            "published_roc_auc": system.published.roc_auc if system.published else None,
            "source": system.published.source if system.published else None,
            "note": system.note,
        }
        for system in SYSTEMS.values()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(
        title=f"with the paper's input sizes and {TAGS} tags",
        box=None,
        title_justify="left",
        pad_edge=False,
        collapse_padding=True,
    )
    for head in ("name", "input", "parameters", "printed", "reads", "ROC-AUC"):
        table.add_column(
            head, justify="right" if head in ("parameters", "printed", "ROC-AUC") else "left", no_wrap=True
        )
    notes: dict[str, int] = {}
    for row in rows:
        printed, auc = row["published_parameters_k"], row["published_roc_auc"]
        mark = f" {notes.setdefault(str(row['note']), len(notes) + 1)}" if row["note"] else ""
        table.add_row(
            f"{row['name']}[dim]{mark}[/dim]",
            f"{row['front']} {row['inputs']}",
            f"{row['parameters']:,}",
            f"{printed}K" if printed else "-",
            f"{row['window_s']:.0f} s" if row["window_s"] else "frames",
            f"{auc:.3f}" if auc else "-",
        )
    console = Console()
    console.print(table)
    console.print(
        "printed, ROC-AUC: as published (Song 2018, Table 2; Mel-4L-CNN: Choi 2016). Any other size trains too:"
    )
    console.print("Scat-2L-128H-GRU, Mel-3L-256H-LSTM-by-time, ...")
    console.print(f"reads: frame by frame, or the last {WINDOW_S:.0f} s, again every second (trained on whole clips)")
    for note, number in notes.items():
        console.print(f"{number} {note}")


def _print_decisions(as_json: bool) -> None:
    """Print what the paper says of the training, and what the recipe `paper` does, with its settings."""
    from rich.console import Console
    from rich.table import Table

    from trainer.train.recipes import DECISIONS, recipe

    config = recipe("paper", options.SYSTEM).to_dict()
    rows = [{**asdict(row), "settings": {name: config[name] for name in row.settings}} for row in DECISIONS]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        settings = " ".join(f"{name}={value}" for name, value in row["settings"].items())
        table.add_row(f"[bold]{row['what']}[/bold]", f"paper: {row['paper'] or '-'}")
        for head, text in (("open", row["left_open"]), ("here", row["chosen"]), ("since", row["reason"])):
            if text:
                table.add_row("", f"{head}: {text}")
        if settings:
            table.add_row("", f"[dim]{settings}[/dim]")
    console = Console(highlight=False)
    console.print(
        f"paper: what Song et al. 2018 print; here: the recipe `paper`, with its settings for {options.SYSTEM}"
    )
    console.print(table)
