"""`streamtag listen`: tags the sound of a microphone or a live stream as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.history_options import HistoryTarget, history_paths, show_history, with_history
from streamtag.cli.mqtt_options import MqttOutput, with_mqtt
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


class SampleFormat(StrEnum):
    s16le = "s16le"
    f32le = "f32le"


@as_command("listen", EPILOG)
@options.with_verbosity
@options.with_serve
@with_mqtt
@with_history
def listen(
    input: Annotated[
        list[str] | None,
        option(
            "--input",
            "NAME|INDEX",
            "Sound input: its index or part of its name; `streamtag devices` lists them. May be repeated.",
            section=Section.input,
        ),
    ] = None,
    channel: Annotated[
        int | None,
        option(
            "--channel",
            "N",
            "Only this channel, from 1; by default the first two, mixed.",
            min=1,
            section=Section.input,
        ),
    ] = None,
    system: Annotated[
        bool,
        options.flag(
            "--system",
            "What this machine plays, instead of a microphone; of the default output, or of that named by --input."
            " Linux and Windows; needs pip install 'streamtag[system]'.",
            section=Section.input,
        ),
    ] = False,
    source: Annotated[
        list[str] | None,
        option(
            "--from",
            "[NAME=]URL|-",
            "Instead of a microphone: an http(s), rtsp(s), srt or rtmp stream, or - for stdin. May be repeated, and"
            " --input be added: each is a stream of its own, called NAME.",
            section=Section.input,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        option(
            "--rate", "HZ", "Sample rate of raw PCM on standard input.", min=1000, max=384_000, section=Section.input
        ),
    ] = None,
    format: Annotated[
        SampleFormat | None,
        option("--format", "s16le|f32le", "Of raw PCM: 16-bit integers or 32-bit floats.", section=Section.input),
    ] = None,
    channels: Annotated[
        int | None, option("--channels", "N", "Of raw PCM; 1 by default.", min=1, max=64, section=Section.input)
    ] = None,
    name: Annotated[
        str | None, option("--name", "NAME", "Name of the only stream in messages.", section=Section.input)
    ] = None,
    json: options.JsonLines = False,
    top: options.TopLive = None,
    tags: options.Tags = None,
    concepts: options.Concepts = None,
    threshold: options.Threshold = None,
    server: ServerConfig | None = None,
    osc: Annotated[
        str | None,
        option("--osc", "HOST:PORT", "Send every tag of every frame to an OSC receiver (UDP).", section=Section.output),
    ] = None,
    mqtt: MqttOutput | None = None,
    record: options.Record = None,
    history: HistoryTarget | None = None,
    save_audio: Annotated[
        Path | None,
        option(
            "--save-audio", "F.wav", "Write the audio (mono, at the input's own sample rate).", section=Section.output
        ),
    ] = None,
    seconds: options.Duration = None,
    reset_on_silence: Annotated[
        float | None,
        option(
            "--reset-on-silence",
            "SECONDS",
            "Reset the network's context when sound returns after this much silence, as for a new song.",
            callback=options.check_seconds,
            section=Section.input,
        ),
    ] = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
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

    pcm = None if rate is None or format is None else PcmFormat(rate, format.value, channels or 1)
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
        from streamtag.cli.live_outputs import Outputs
        from streamtag.cli.live_runner import Limits, run_stream, warm_up
        from streamtag.sinks.atomic_file import check_targets

        limits = Limits(seconds, reset_on_silence)
        check_targets([*(path for path in (record, save_audio) if path is not None), *history_paths(history)], [])
        if mqtt is not None:
            mqtt.check()

        import torch  # after these checks, which need no slow import

        from streamtag.sinks.base import CallbackSink
        from streamtag.sinks.jsonl import MessageRecorder, write_line
        from streamtag.sinks.wav import WavFile

        tagger, selection, greeting = load_model(model, device.value, tags, concepts, top, threshold, reporter)
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
            outputs = Outputs(reporter)
            status: list[Callable[[], str]] = (
                [lambda: greeting.model, lambda: tagger.device] if audio is not None else []
            )
            if server is not None:
                served = start_server(show_history(server, history), greeting, reporter, resources)
                outputs.sinks.append(CallbackSink(served.publish))
                status.append(lambda: f"{served.address} {plural(served.subscribers, 'subscriber')}")
            if audio is None:
                from streamtag.cli.stations import Stations

                stations = Stations(tagger, selection, inputs, limits)
                names = stations.names
                outputs.open_table(names, stations.snapshot, selection, status, json)
            else:
                outputs.open_view(audio, selection, status, json)
            if json:
                write_line(sys.stdout, greeting)
            outputs.sinks.append(resources.enter_context(outputs.open_stdout(selection, json, names)))
            if target is not None:
                outputs.sinks.append(resources.enter_context(OscSink(target, selection, names)))
            if mqtt is not None:
                outputs.sinks.append(resources.enter_context(mqtt.open(greeting, selection, outputs.notify)))
            if record is not None:
                outputs.sinks.append(resources.enter_context(MessageRecorder(record, greeting, outputs.report)))
            if history is not None:
                sources = {each.stream_name: each.label for each in inputs}
                stored = history.open(outputs.report, greeting, tagger.path, sources.get)
                outputs.sinks.append(resources.enter_context(stored))
            if stations is not None:
                stations.run(outputs, guard)
            elif audio is not None:
                run_stream(tagger, selection, audio, inputs[0].name or audio.name, limits, outputs, guard)

    return run_command(json, work, verbosity)
