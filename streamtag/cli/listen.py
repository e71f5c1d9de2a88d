"""`streamtag listen`: tags the sound of a microphone or a live stream as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.message_outputs import MessageOutputs, with_outputs
from streamtag.cli.options import option
from streamtag.cli.program import Section, UsageError
from streamtag.cli.runtime import Reporter, SignalGuard, load_model, run_command, start_server
from streamtag.text import plural

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig

EPILOG = f"""\b
Examples:
  streamtag listen
  streamtag listen --input "USB" --serve 8765        # http://127.0.0.1:8765/
  streamtag listen --system
  streamtag listen --from https://example.org/radio.mp3 --json --top 5
  streamtag listen --from https://example.org/radio.mp3 \\
    --from jazz=https://example.org/2.aac --input "USB" --serve 8765
  arecord -f S16_LE -r 48000 |
    streamtag listen --from - --rate 48000 --format s16le

Keys: q quits; with one source, r resets the network's context, space freezes the view.

{EXIT_CODES}
"""


@as_command("listen", EPILOG)
@options.with_verbosity
@options.with_serve
@with_outputs
def listen(
    outputs: MessageOutputs,
    input: Annotated[
        list[str] | None,
        option(
            "--input NAME|INDEX",
            Section.input,
            "Sound input: its index or part of its name; `streamtag devices` lists them. May be repeated.",
        ),
    ] = None,
    channel: Annotated[
        int | None,
        option("--channel N", Section.input, "Only this channel, from 1; by default the first two, mixed.", min=1),
    ] = None,
    system: Annotated[
        bool,
        option(
            "--system",
            Section.input,
            "What this machine plays, instead of a microphone; of the default output, or of that named by --input."
            " Linux and Windows; needs pip install 'streamtag[system]'.",
        ),
    ] = False,
    source: Annotated[
        list[str] | None,
        option(
            "--from [NAME=]URL|-",
            Section.input,
            "Instead of a microphone: an http(s), rtsp(s), srt or rtmp stream, or - for stdin. May be repeated, and"
            " --input be added: each is a stream of its own, called NAME.",
        ),
    ] = None,
    rate: Annotated[
        int | None,
        option("--rate HZ", Section.input, "Sample rate of raw PCM on standard input.", min=1000, max=384_000),
    ] = None,
    format: Annotated[
        Literal["s16le", "f32le"] | None,
        option("--format s16le|f32le", Section.input, "Of raw PCM: 16-bit integers or 32-bit floats."),
    ] = None,
    channels: Annotated[
        int | None, option("--channels N", Section.input, "Of raw PCM; 1 by default.", min=1, max=64)
    ] = None,
    name: Annotated[str | None, option("--name NAME", Section.input, "Name of the only stream in messages.")] = None,
    json: options.JsonLines = False,
    top: options.TopLive = None,
    tags: options.Tags = None,
    concepts: options.Concepts = None,
    threshold: options.Threshold = None,
    server: ServerConfig | None = None,
    osc: Annotated[
        str | None, option("--osc HOST:PORT", Section.output, "Send every tag of every frame to an OSC receiver (UDP).")
    ] = None,
    record: options.Record = None,
    save_audio: Annotated[
        Path | None,
        option("--save-audio F.wav", Section.output, "Write the audio (mono, at the input's own sample rate)."),
    ] = None,
    seconds: options.Duration = None,
    reset_on_silence: Annotated[
        float | None,
        option(
            "--reset-on-silence SECONDS",
            Section.input,
            "Reset the network's context when sound returns after this much silence, as for a new song.",
            callback=options.check_seconds,
        ),
    ] = None,
    model: options.Model = None,
    device: options.ComputeDevice = "auto",
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Tag a microphone, what this machine plays, or a live stream, until it is stopped.

    On a terminal the strongest concepts (groups of tags that mean the same) are shown as they come; a pipe
    gets one line of text per second, or messages with --json. --tags all shows the tags themselves.
    `streamtag devices` lists the inputs.
    """
    from streamtag.audio.pcm import PcmFormat
    from streamtag.cli.live_inputs import live_inputs
    from streamtag.sinks.osc import OscSink, OscTarget

    pcm = None if rate is None or format is None else PcmFormat(rate, format, channels or 1)
    inputs = live_inputs(source or [], input or [], channel, system, pcm, name)
    if (rate, format, channels) != (None, None, None) and not any(each.where == "-" for each in inputs):
        raise UsageError("--rate, --format and --channels describe raw PCM on standard input: add --from -")
    if (rate is None) != (format is None):
        raise UsageError("raw PCM needs both --rate and --format; without them any audio container is read")
    if channels is not None and rate is None:
        raise UsageError("--channels goes with --rate and --format")
    if len(inputs) > 1 and save_audio is not None:
        raise UsageError("--save-audio writes the audio of one source")
    target = None if osc is None else OscTarget.parse(osc)

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        from streamtag.cli.live_outputs import LiveOutputs
        from streamtag.cli.live_runner import Limits, run_stream, warm_up

        limits = Limits(seconds, reset_on_silence)
        outputs.check([record, save_audio])

        import torch  # after these checks, which need no slow import

        from streamtag.sinks.base import CallbackSink
        from streamtag.sinks.jsonl import MessageRecorder, write_line
        from streamtag.sinks.wav import WavFile

        tagger, selection, greeting = load_model(model, device, tags, concepts, top, threshold, reporter)
        if tagger.device == "cpu":
            torch.set_num_threads(1)  # a hop is too little work for two threads, which would busily wait
        with ExitStack() as resources:
            resources.enter_context(guard)
            warm_up(tagger)
            audio = stations = None
            names: list[str] = []
            if len(inputs) == 1:
                tap = None if save_audio is None else resources.enter_context(WavFile(save_audio)).write
                audio = inputs[0].open(tap)
                resources.callback(audio.close)
                reporter.detail(f"source {audio.description}")
            live = LiveOutputs(reporter)
            status: list[Callable[[], str]] = (
                [lambda: greeting.model, lambda: tagger.device] if audio is not None else []
            )
            if server is not None:
                served = start_server(outputs.shown_by(server), greeting, reporter, resources)
                live.sinks.append(CallbackSink(served.publish))
                status.append(lambda: f"{served.address} {plural(served.subscribers, 'subscriber')}")
            if audio is None:
                from streamtag.cli.stations import Stations

                stations = Stations(tagger, selection, inputs, limits)
                names = stations.names
                live.open_table(names, stations.snapshot, selection, status, json)
            else:
                live.open_view(audio, selection, status, json)
            if json:
                write_line(sys.stdout, greeting)
            live.sinks.append(resources.enter_context(live.open_stdout(selection, json, names)))
            if target is not None:
                live.sinks.append(resources.enter_context(OscSink(target, selection, names)))
            live.sinks += outputs.open_mqtt(resources, reporter.notify, greeting, selection)
            if record is not None:
                live.sinks.append(resources.enter_context(MessageRecorder(record, greeting, reporter.note)))
            sources = {each.stream_name: each.label for each in inputs}
            live.sinks += outputs.open_history(resources, reporter.note, greeting, tagger.path, sources.get)
            if stations is not None:
                stations.run(live, guard)
            elif audio is not None:
                run_stream(tagger, selection, audio, inputs[0].name or audio.name, limits, live, guard)

    return run_command(json, work, verbosity)
