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

from streamtag.commands.hearing import Hearing
from streamtag.commands.hello import hello
from streamtag.commands.interruption import Interruption
from streamtag.commands.listening import WAIT_S, Limits, Listening
from streamtag.commands.reporter import Reporter
from streamtag.commands.running import run_reported
from streamtag.commands.serving import serve
from streamtag.errors import SourceError
from streamtag.live.capture import Capture, Heard, Notice, Piece
from streamtag.live.intake import Tee
from streamtag.live.meter import Meter
from streamtag.live.microphone import Microphone
from streamtag.live.radio import Radio
from streamtag.live.raw_pcm import RawPcm, RawSpec
from streamtag.out.jsonlines import JsonLines, write_line
from streamtag.out.keys import Keys
from streamtag.out.live_panel import Facts, LivePanel, can_draw
from streamtag.out.metering import Metering
from streamtag.out.osc import OscSink, OscTarget
from streamtag.out.plain_lines import PlainLines
from streamtag.out.record import Record
from streamtag.out.result_file import check_targets
from streamtag.out.selection import Selection
from streamtag.out.sink import Sink, Stream
from streamtag.out.table import SummaryTable
from streamtag.out.timeline import LONGEST_ENDLESS
from streamtag.out.wav_file import WavFile
from streamtag.out.words import counted

if TYPE_CHECKING:
    from streamtag.app import Tagger
    from streamtag.out.serving import ServeSpec

KEYS = "q quit   r forget   space freeze"


@dataclass(frozen=True)
class ListenRequest:
    """What the user asked for. None: not wanted, or left to the model or the machine."""

    input: str | None = None
    channel: int | None = None
    source: str | None = None
    raw: RawSpec | None = None
    name: str | None = None
    json: bool = False
    top: int | None = None
    tags: tuple[str, ...] | None = None
    threshold: float | None = None
    serve: ServeSpec | None = None
    osc: OscTarget | None = None
    record: Path | None = None
    save_audio: Path | None = None
    seconds: float | None = None
    reset_on_silence: float | None = None
    model: Path | None = None
    device: str = "auto"


def run(request: ListenRequest) -> int:
    """Listens until it is stopped. -> the exit code."""
    return run_reported(request.json, partial(_run, request))


def _run(request: ListenRequest, reporter: Reporter, interruption: Interruption) -> None:
    limits = Limits(request.seconds, request.reset_on_silence)
    check_targets([path for path in (request.record, request.save_audio) if path is not None], [])

    import torch  # late: it takes a while

    from streamtag.app import load

    tagger = load(request.model, request.device)
    selection = Selection.of(
        tagger.tags, tagger.thresholds, wanted=request.tags, top=request.top, threshold=request.threshold
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
        stream = Stream(request.name or capture.name)
        hearing = Hearing(stream, tagger, selection.thresholds, outputs.sinks, LONGEST_ENDLESS)
        listening = Listening(capture, hearing, outputs.meter, limits, outputs.say)
        try:
            _listen(listening, first, outputs.panel, interruption)
        finally:
            hearing.end()


def _listen(listening: Listening, first: Piece, panel: LivePanel | None, interruption: Interruption) -> None:
    """With the view and its keys, if there is one, until it ends."""
    if panel is None:
        listening.run(first, lambda: not interruption.wanted, lambda: None, {})
        return
    ended = Event()
    actions = {"q": ended.set, "r": listening.forget, " ": panel.freeze}
    with panel, Keys(panel) as keys:
        listening.run(first, lambda: not (interruption.wanted or ended.is_set()), keys.pressed, actions)


@dataclass(frozen=True)
class Outputs:
    """Where results go. sinks: in the order in which they are told. say: where notices for people go."""

    meter: Meter
    sinks: tuple[Sink, ...]
    panel: LivePanel | None
    say: Callable[[Notice], None]


def _outputs(
    request: ListenRequest,
    tagger: Tagger,
    selection: Selection,
    capture: Capture,
    reporter: Reporter,
    resources: ExitStack,
) -> Outputs:
    """Raises OutputError if one of them cannot be had."""
    meter, greeting = Meter(), hello(tagger, selection.thresholds)
    sinks: list[Sink] = [Metering(meter)]
    told: list[Callable[[], str]] = [lambda: greeting.model, lambda: tagger.device]
    panel: LivePanel | None = None
    if request.serve is not None:
        server, sink = serve(request.serve, greeting, reporter, resources)
        sinks.append(sink)
        told.append(lambda: f"{server.address} {counted(server.subscribers, 'subscriber')}")
    console = Console(stderr=True, highlight=False)
    if can_draw(console) and not _shares_its_terminal(request):
        facts = Facts(
            reading=lambda _: meter.reading(),
            about=lambda: capture.about,
            told=lambda: tuple(tell() for tell in told),
            keys=KEYS,
        )
        panel = LivePanel(console, selection, facts)
        sinks.append(panel)
    if request.json:
        write_line(sys.stdout, greeting)
        sinks.append(JsonLines(sys.stdout, selection))
    else:
        if panel is None or not sys.stdout.isatty():
            sinks.append(PlainLines(sys.stdout, selection))
        sinks.append(SummaryTable(sys.stdout, selection))
    if request.osc is not None:
        sinks.append(resources.enter_context(OscSink(request.osc, selection)))
    if request.record is not None:
        sinks.append(resources.enter_context(Record(request.record, greeting)))
    if panel is None:
        reporter.note(f"listening to {capture.about}")
    say = (lambda notice: reporter.note(notice.text)) if panel is None else panel.notice
    return Outputs(meter, tuple(sinks), panel, say)


def _shares_its_terminal(request: ListenRequest) -> bool:
    """Whether messages, or what a pipe's other end makes of them, may be written over the view."""
    try:
        piped = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return True
    return piped or (request.json and sys.stdout.isatty())


def _capture(request: ListenRequest, tee: Tee | None) -> Capture:
    """Raises SourceError if there is no such device, or no use in the address."""
    if request.source is None:
        return Microphone(request.input, request.channel, tee=tee)
    if request.raw is not None:
        return RawPcm(request.raw, tee=tee)
    return Radio(request.source, tee=tee)


def _first(capture: Capture, interruption: Interruption) -> Piece | None:
    """The first piece that tells something; None if the source ends before, or a signal came."""
    while not interruption.wanted:
        piece = capture.take(WAIT_S)
        if not isinstance(piece, Heard) or len(piece.samples):
            return piece
    return None


def _rehearse(tagger: Tagger) -> None:
    """The first hops take longer, since transforms are planned then: not while somebody waits for them."""
    from streamtag.live.session import Session

    Session(tagger).feed(np.zeros(3 * tagger.network.spec.sample_rate, np.float32))
