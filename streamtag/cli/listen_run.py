"""`streamtag listen`: endless sound in, tags out as they come. The wiring between a capture and the sinks."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from streamtag.audio.level_meter import Meter
from streamtag.audio.microphone import Microphone
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.pcm_pipe import PcmPipe
from streamtag.audio.resample import AudioTap
from streamtag.audio.source import AudioChunk, AudioSource, CaptureEvent, SourceNotice
from streamtag.audio.url_stream import UrlStream
from streamtag.cli.hello import hello
from streamtag.cli.live_runner import WAIT_S, Limits, LiveRunner
from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.serving import serve
from streamtag.cli.signals import SignalGuard
from streamtag.errors import SourceError
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.timeline import MAX_LIVE_ROWS, StreamInfo
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import check_targets
from streamtag.sinks.background import BackgroundSink
from streamtag.sinks.base import CallbackSink, Sink, SinkGroup
from streamtag.sinks.jsonl import JsonLines, MessageRecorder, write_line
from streamtag.sinks.osc import OscSink, OscTarget
from streamtag.sinks.wav import WavFile
from streamtag.terminal.keys import Keys
from streamtag.terminal.lines import PlainLines
from streamtag.terminal.live_panel import LivePanel, StatusInfo, can_draw
from streamtag.terminal.summary import SummaryTable
from streamtag.terminal.watch_panel import MeterSink
from streamtag.text import plural

if TYPE_CHECKING:
    from streamtag.api import Tagger
    from streamtag.server.config import ServerConfig

KEYS = "q quit   r forget   space freeze"


@dataclass(frozen=True)
class ListenRequest:
    """What the user asked for. None: not wanted, or left to the model or the machine."""

    input: str | None = None
    channel: int | None = None
    source: str | None = None
    raw: PcmFormat | None = None
    name: str | None = None
    json: bool = False
    top: int | None = None
    tags: tuple[str, ...] | None = None
    threshold: float | None = None
    serve: ServerConfig | None = None
    osc: OscTarget | None = None
    record: Path | None = None
    save_audio: Path | None = None
    seconds: float | None = None
    reset_on_silence: float | None = None
    model: Path | None = None
    device: str = "auto"


def run(request: ListenRequest) -> int:
    """Listens until it is stopped. -> the exit code."""
    return run_command(request.json, partial(_run, request))


def _run(request: ListenRequest, reporter: Reporter, interruption: SignalGuard) -> None:
    limits = Limits(request.seconds, request.reset_on_silence)
    check_targets([path for path in (request.record, request.save_audio) if path is not None], [])

    import torch  # late: it takes a while

    from streamtag.api import load
    from streamtag.inference.session import Session

    tagger = load(request.model, request.device)
    selection = Selection.of(
        tagger.tags, tagger.thresholds, names=request.tags, top=request.top, threshold=request.threshold
    )
    if tagger.device == "cpu":
        torch.set_num_threads(1)  # a hop is too little work for two, which would only wait for each other, busily
    with ExitStack() as resources:
        resources.enter_context(interruption)
        _rehearse(tagger)
        wav = None if request.save_audio is None else resources.enter_context(WavFile(request.save_audio))
        capture = _capture(request, None if wav is None else wav.write)
        resources.callback(capture.close)
        outputs = _outputs(request, tagger, selection, capture, reporter, resources)
        first = _first(capture, interruption)
        if first is None:
            if not interruption.wanted:
                reporter.error(SourceError(f"{capture.name}: nothing was heard"))
            return
        name, detector = request.name or capture.name, EventDetector(tagger.tags, selection.thresholds)
        hearing = StreamPipeline(name, Session(tagger), detector, outputs.sinks.publish, MAX_LIVE_ROWS)
        outputs.sinks.begin(StreamInfo(name), hearing.timeline)
        listening = LiveRunner(capture, hearing, outputs.meter, limits, outputs.say)
        try:
            _listen(listening, first, outputs, interruption)
        finally:
            hearing.end()
        outputs.sinks.raise_failure()


def _listen(listening: LiveRunner, first: CaptureEvent, outputs: Outputs, interruption: SignalGuard) -> None:
    """With the view and its keys, if there is one, until it ends or an output fails."""
    ended, panel, sinks = Event(), outputs.panel, outputs.sinks

    def wanted() -> bool:
        return not (interruption.wanted or ended.is_set() or sinks.has_failed)

    if panel is None:
        listening.run(first, wanted, lambda: None, {})
        return
    actions = {"q": ended.set, "r": listening.forget, " ": panel.freeze}
    with panel, Keys(panel) as keys:
        listening.run(first, wanted, keys.pressed, actions)


@dataclass(frozen=True)
class Outputs:
    """Where results go. sinks: in the order in which they are told. say: where notices for people go."""

    meter: Meter
    sinks: SinkGroup
    panel: LivePanel | None
    say: Callable[[SourceNotice], None]


def _outputs(
    request: ListenRequest,
    tagger: Tagger,
    selection: Selection,
    capture: AudioSource,
    reporter: Reporter,
    resources: ExitStack,
) -> Outputs:
    """Raises OutputError if one of them cannot be had."""
    meter, greeting = Meter(), hello(tagger, selection.thresholds)
    sinks: list[Sink] = [MeterSink(meter)]
    told: list[Callable[[], str]] = [lambda: greeting.model, lambda: tagger.device]
    panel: LivePanel | None = None
    if request.serve is not None:
        server = serve(request.serve, greeting, reporter, resources)
        sinks.append(CallbackSink(server.publish))
        told.append(lambda: f"{server.address} {plural(server.subscribers, 'subscriber')}")
    console = Console(stderr=True, highlight=False)
    if can_draw(console) and not _shares_its_terminal(request):
        facts = StatusInfo(
            reading=lambda _: meter.reading(),
            about=lambda: capture.description,
            told=lambda: tuple(tell() for tell in told),
            keys=KEYS,
        )
        panel = LivePanel(console, selection, facts)
        sinks.append(panel)
    if request.json:
        write_line(sys.stdout, greeting)
    printed: list[Sink] = [JsonLines(sys.stdout, selection)] if request.json else [SummaryTable(sys.stdout, selection)]
    if not request.json and (panel is None or not sys.stdout.isatty()):
        printed.insert(0, PlainLines(sys.stdout, selection))
    sinks.append(resources.enter_context(BackgroundSink(printed)))
    if request.osc is not None:
        sinks.append(resources.enter_context(OscSink(request.osc, selection)))
    if request.record is not None:
        recorder = MessageRecorder(request.record, greeting, partial(_report, reporter, panel))
        sinks.append(resources.enter_context(recorder))
    if panel is None:
        reporter.note(f"listening to {capture.description}")
    say = (lambda notice: reporter.note(notice.text)) if panel is None else panel.notice
    return Outputs(meter, SinkGroup(sinks), panel, say)


def _report(reporter: Reporter, panel: LivePanel | None, text: str) -> None:
    """Show a problem where the user sees it now."""
    if panel is not None and panel.is_shown:
        panel.notice(SourceNotice(text))
    else:
        reporter.note(text)


def _shares_its_terminal(request: ListenRequest) -> bool:
    """Whether messages, or what a pipe's other end makes of them, may be written over the view."""
    try:
        piped = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return True
    return piped or (request.json and sys.stdout.isatty())


def _capture(request: ListenRequest, tap: AudioTap | None) -> AudioSource:
    """Raises SourceError if there is no such device, or no use in the address."""
    if request.source is None:
        return Microphone(request.input, request.channel, tap=tap)
    if request.raw is not None:
        return PcmPipe(request.raw, tap=tap)
    return UrlStream(request.source, tap=tap)


def _first(capture: AudioSource, interruption: SignalGuard) -> CaptureEvent | None:
    """The first piece that tells something; None if the source ends before, or a signal came."""
    while not interruption.wanted:
        piece = capture.read(WAIT_S)
        if not isinstance(piece, AudioChunk) or len(piece.samples):
            return piece
    return None


def _rehearse(tagger: Tagger) -> None:
    """The first hops take longer, since transforms are planned then: not while somebody waits for them."""
    from streamtag.inference.session import Session

    Session(tagger).feed(np.zeros(3 * tagger.network.spec.sample_rate, np.float32))
