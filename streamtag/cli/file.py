"""`streamtag file`: tags files, folders, URLs and standard input."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.message_outputs import MessageOutputs, with_outputs
from streamtag.cli.options import option
from streamtag.cli.program import Section, UsageError
from streamtag.cli.runtime import Reporter, SignalGuard, load_model, run_command, start_server
from streamtag.text import parse_time

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig
    from streamtag.sinks.base import Sink

SEVERAL = "With several inputs one file each, named F-<name>."
EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file music/                              a line for each file
  streamtag file "music/**/*.flac" --csv tags.csv --plot tags.png
  streamtag file song.mp3 --realtime --serve 8765    # http://127.0.0.1:8765/
  streamtag file talk.mp4 --labels talk.txt --tags "male voice,female voice"
  curl -s https://example.org/song.ogg | streamtag file - --json --top 5

{EXIT_CODES}
"""


@as_command("file", EPILOG)
@options.with_verbosity
@options.with_serve
@with_outputs
def file(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|URL|-",
            help="Audio or video files, folders (with subfolders), patterns, http(s) URLs, or - for standard input.",
            show_default=False,
        ),
    ],
    outputs: MessageOutputs,
    table: Annotated[
        bool, option("--table", Section.shown, "Print the table of each input, where there are several.")
    ] = False,
    summary: Annotated[bool, option("--summary", Section.shown, "Print only a line for each input, no table.")] = False,
    json: options.JsonLines = False,
    csv: Annotated[
        Path | None,
        option(
            "--csv F", Section.output, "Write a table: one row per frame (0.256 s), one column per tag; all inputs."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        option(
            "--labels F",
            Section.output,
            f"Write a label track for Audacity: start and end [s] of every concept. {SEVERAL}",
        ),
    ] = None,
    segments: Annotated[
        Path | None,
        option(
            "--segments F",
            Section.output,
            "Divide a long recording where its music changes and write what is present in each part: chapters (.json,"
            f" Podcasting 2.0), a label track (.txt, Audacity) or WebVTT (.vtt). {SEVERAL}",
        ),
    ] = None,
    write_tags: Annotated[
        bool,
        option(
            "--write-tags",
            Section.output,
            "Write the genres that are present into the files' own tags (ID3, Vorbis comments, MP4, ...), unless a"
            " file has a genre.",
        ),
    ] = False,
    force: Annotated[
        bool, option("--force", Section.output, "With --write-tags: replace the genres that files have.")
    ] = False,
    plot: Annotated[
        Path | None,
        option(
            "--plot F.png",
            Section.output,
            f"Draw the concepts over time (.png, .svg or .pdf), 20 without --top. {SEVERAL}",
        ),
    ] = None,
    top: Annotated[
        int | None,
        option(
            "--top N",
            Section.shown,
            "Only the N strongest: in the table, the picture, and of the tags and concepts of each JSON frame and"
            " summary. Does not apply to --csv, --labels and --segments.",
            min=1,
        ),
    ] = None,
    tags: options.Tags = None,
    concepts: options.Concepts = None,
    threshold: options.Threshold = None,
    start: Annotated[
        float | None,
        option(
            "--start TIME",
            Section.input,
            "Begin at this time of each input: seconds, M:SS or H:MM:SS. All times in the results count from the start"
            " of the file.",
            parser=parse_time,
        ),
    ] = None,
    duration: Annotated[
        float | None,
        option("--duration TIME", Section.input, "Tag only this much of each input.", parser=options.parse_duration),
    ] = None,
    realtime: Annotated[bool, option("--realtime", Section.input, "Read no faster than the sound would play.")] = False,
    server: ServerConfig | None = None,
    model: options.Model = None,
    device: options.ComputeDevice = "auto",
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Tag sounds: files, folders, URLs, standard input.

    Shown are concepts: groups of tags that mean the same. --tags all shows the tags themselves. Messages (--json) hold
    both, --csv the tags. On a terminal the strongest are shown while the sound is read; the results follow on standard
    output: a line with what is present in the sound and, for a single input, a table.
    """
    if table and summary:
        raise UsageError("--table and --summary exclude each other")
    if json and (table or summary):
        raise UsageError("--json prints messages only: leave out --table and --summary")
    if force and not write_tags:
        raise UsageError("--force goes with --write-tags")

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        from streamtag.audio.decoder import SourceSpec
        from streamtag.audio.files import Address, stream_names, target_paths
        from streamtag.cli.file_runner import FileRunner, find_sources, report_genres
        from streamtag.inference.timeline import StreamInfo
        from streamtag.sinks.atomic_file import check_suffix
        from streamtag.sinks.base import CallbackSink, SinkGroup, StreamFiles
        from streamtag.sinks.jsonl import JsonLines, write_line
        from streamtag.sinks.labels import SEGMENT_FORMATS, label_track, segment_file

        # Mistakes in the arguments are reported before the model is loaded, which takes seconds.
        if plot is not None:
            from streamtag.sinks.plot import SUFFIXES, tagogram

            check_suffix(plot, SUFFIXES, "draw")
        if segments is not None:
            check_suffix(segments, SEGMENT_FORMATS, "write segments")
        if write_tags:
            from streamtag.sinks.genre_tags import GenreCollector, check_mutagen

            check_mutagen()
        paths, missing = find_sources(sources)
        names = stream_names(paths)
        label_paths, segment_paths, plot_paths = (
            {} if base is None else dict(zip(names, target_paths(base, names), strict=True))
            for base in (labels, segments, plot)
        )
        outputs.check([*label_paths.values(), *segment_paths.values(), *plot_paths.values(), csv], paths)
        if not paths:
            for error in missing:
                reporter.error(error)
            return

        def confirm(path: Path) -> None:
            reporter.note(f"wrote {path}")

        tagger, selection, greeting = load_model(model, device, tags, concepts, top, threshold, reporter)
        with ExitStack() as resources:
            sinks: list[Sink] = []  # the view comes first: it erases itself before a result is printed
            if (console := reporter.view_console(json)) is not None:
                from streamtag.terminal.file_view import FileProgressView

                view = FileProgressView(console, selection)
                resources.callback(view.close)
                sinks.append(view)
            if json:
                sinks.append(JsonLines(sys.stdout, selection))
            else:
                from streamtag.terminal.summary import SummaryTable

                sinks.append(SummaryTable(sys.stdout, selection, table=table or (len(paths) == 1 and not summary)))
            if csv is not None:
                from streamtag.sinks.csv import CsvFile

                sinks.append(resources.enter_context(CsvFile(csv, selection, confirm)))
            if label_paths:
                sinks.append(StreamFiles(label_paths, selection, label_track, confirm))
            if segment_paths:
                sinks.append(StreamFiles(segment_paths, selection, segment_file, confirm))
            if plot_paths:
                sinks.append(StreamFiles(plot_paths, selection, tagogram, confirm))
            if write_tags:
                genres = GenreCollector(selection)
                sinks.append(genres)
            sinks += outputs.open_history(resources, reporter.note, greeting, tagger.path)
            if server is not None:
                served = start_server(outputs.shown_by(server), greeting, reporter, resources)
                sinks.append(CallbackSink(served.publish))
            sinks += outputs.open_mqtt(resources, reporter.notify, greeting, selection)
            if json:
                write_line(sys.stdout, greeting)
            for error in missing:
                reporter.error(error)
            resources.enter_context(guard)
            excerpt = SourceSpec(start_s=start or 0.0, duration_s=duration)
            runner = FileRunner(tagger, selection, SinkGroup(sinks), realtime, reporter, guard, excerpt)
            for number, (source, name) in enumerate(zip(paths, names, strict=True)):
                is_complete = runner.run(source, StreamInfo(name, number, len(paths), source=Address.of(source).label))
                if write_tags and is_complete:
                    report_genres(source, genres.genres, force, reporter)
                if guard.stop_requested:
                    reporter.note(f"interrupted in {name}: these are the results so far")
                    return

    return run_command(json, work, verbosity)
