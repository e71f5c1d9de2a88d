"""The command line: parses, and hands over. Imports nothing slow, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from streamtag import __version__
from streamtag import cli_options as options
from streamtag.errors import StreamtagError

INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells count signals: 128 + SIGINT, 128 + SIGPIPE

EXIT_CODES = (
    "Exit codes: 0 done; 1 something failed, in one clear line on standard error; 2 wrong usage;"
    " 130 and 143 ended by Ctrl-C and SIGTERM, with the results so far; 141 standard output was closed."
)

EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file music/ --json > tags.jsonl
  streamtag file --help

{EXIT_CODES}
"""

app = typer.Typer(
    help="Tags music while it plays: four times a second the probabilities of 50 tags.",
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, without the time that rich takes to import
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"streamtag {__version__}")
        raise typer.Exit


@app.callback()
def _streamtag(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


FILE_EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file "music/**/*.flac" --csv tags.csv --plot tags.png
  streamtag file talk.mp4 --labels talk.txt --tags "male voice,female voice"
  curl -s https://example.org/song.ogg | streamtag file - --json --top 5

{EXIT_CODES}
"""


@app.command("file", epilog=FILE_EPILOG)
def _file(
    sources: options.Sources,
    json: options.JsonLines = False,
    csv: options.Csv = None,
    labels: options.Labels = None,
    plot: options.Plot = None,
    top: options.Top = None,
    tags: options.Tags = None,
    threshold: options.Threshold = None,
    realtime: options.Realtime = False,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> None:
    """Tag sounds: files, folders, URLs, standard input.

    On a terminal the strongest tags are shown while the sound is read; the results follow on standard output.
    """

    def work() -> int:
        from streamtag.commands.file import FileRequest, run

        request = FileRequest(
            sources=tuple(sources),
            json=json,
            csv=csv,
            labels=labels,
            plot=plot,
            top=top,
            tags=options.tag_names(tags),
            threshold=threshold,
            realtime=realtime,
            model=model,
            device=device.value,
        )
        return run(request)

    raise typer.Exit(_guarded(work))


@app.command(
    "model",
    short_help="Print the model card.",
    epilog="\b\nExamples:\n  streamtag model\n  streamtag model --model my.safetensors --json",
)
def _model(model: options.Model = None, json: options.JsonObject = False) -> None:
    """Print the model card: where the weights come from, what they learned, scores, tags and thresholds."""

    def work() -> int:
        from streamtag.commands.model import run

        return run(model, json)

    raise typer.Exit(_guarded(work))


@app.command(
    "bench",
    short_help="Measure speed and memory on this machine.",
    epilog="\b\nExamples:\n  streamtag bench\n  streamtag bench --json > bench.json",
)
def _bench(
    json: options.JsonObject = False,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> None:
    """Measure this machine: front end against kymatio, a whole file, time to the first frame, memory."""

    def work() -> int:
        from streamtag.commands import bench

        return bench.run(json=json, model=model, device=device.value)

    raise typer.Exit(_guarded(work))


def _guarded(work: Callable[[], int]) -> int:
    """What a user can cause becomes a line and an exit code."""
    try:
        code = work()
        sys.stdout.flush()
    except StreamtagError as error:
        print(f"streamtag: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    return code


def _silence() -> None:
    """Nobody reads standard output: what is still buffered goes nowhere, without a complaint at exit."""
    try:
        place = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # no real file: nothing is buffered by the system
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, place)
    os.close(nowhere)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. arguments: those of the process if None. -> the exit code."""
    try:
        app(None if arguments is None else list(arguments), prog_name="streamtag")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if arguments is None and any(thread.name.startswith("streamtag-") for thread in threading.enumerate()):
        # A reader that still waits for a stalled source holds a resampler, whose library complains at Python's exit.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
