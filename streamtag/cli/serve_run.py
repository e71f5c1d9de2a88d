"""`streamtag serve`: many producers send sound, many subscribers read tags. The wiring between engine and server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from streamtag.cli.hello import hello
from streamtag.cli.parallelism import ParallelismPlan
from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.serving import this_machine_alone
from streamtag.cli.signals import SignalGuard
from streamtag.protocol.messages import End, Error, Gap, Message
from streamtag.protocol.selection import Selection
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.scheduler import Scheduler
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.sinks.atomic_file import check_targets
from streamtag.sinks.background import BackgroundSink
from streamtag.sinks.base import Sink, SinkGroup
from streamtag.sinks.jsonl import JsonLines, MessageRecorder, write_line
from streamtag.terminal.console_queue import ConsoleQueue
from streamtag.terminal.live_panel import can_draw
from streamtag.terminal.stream_table import TAGS, ServerSnapshot, StreamsTable
from streamtag.text import format_time, plural

if TYPE_CHECKING:
    from streamtag.api import Tagger
    from streamtag.server.thread import ServerThread

SLOTS_A_CORE, SLOTS_ON_A_GPU = 1024, 16384  # 80 kB each, which are taken as they are used; more than one has time for
ON_A_GPU = 512  # streams in one step
WARM_UP_STREAMS = 8  # in one step, on a CPU: few are admitted at first
WAIT_S = 0.1  # between two looks at signals
EACH = 8  # messages that wait to be written at most, for each stream that there may be


@dataclass(frozen=True)
class ServeRequest:
    """What the user asked for. None: not wanted, or left to the model or the machine."""

    serve: ServerConfig = field(default_factory=ServerConfig)
    ingest_token: str | None = None
    max_per_client: int = 64
    max_streams: int | None = None
    workers: int | None = None
    precision: str = "float32"
    threshold: float | None = None
    json: bool = False
    top: int | None = None
    tags: tuple[str, ...] | None = None
    record: Path | None = None
    model: Path | None = None
    device: str = "auto"


def run(request: ServeRequest) -> int:
    """Serves until it is stopped. -> the exit code."""
    return run_command(request.json, partial(_run, request))


def _run(request: ServeRequest, reporter: Reporter, interruption: SignalGuard) -> None:
    check_targets([] if request.record is None else [request.record], [])

    import torch  # late: it takes a while

    from streamtag.api import load
    from streamtag.inference.batch import SessionPool
    from streamtag.model.model_file import fingerprint
    from streamtag.server.thread import ServerThread

    tagger = load(request.model, request.device)
    selection = Selection.of(
        tagger.tags, tagger.thresholds, names=request.tags, top=request.top, threshold=request.threshold
    )
    if tagger.device == "cpu":
        torch.set_num_threads(1)  # each worker; two in one operation would wait for each other, busily
    workforce = ParallelismPlan.of(tagger.device, request.workers)
    spec, slots = _sizes(request, tagger, workforce)
    ingest = IngestConfig(request.ingest_token, request.max_per_client, slots)
    greeting = hello(tagger, selection.thresholds)
    outlet = ConsoleQueue(max(1024, EACH * slots))
    with ExitStack() as resources:
        resources.enter_context(interruption)
        server = resources.enter_context(ServerThread(request.serve, greeting, ingest, outlet.say))
        reporter.told.append(server.publish)
        sinks: list[Sink] = []
        note: Callable[[str], None] = reporter.note
        if request.json:
            write_line(sys.stdout, greeting)
            printed = BackgroundSink([JsonLines(sys.stdout, selection)], EACH * slots)
            sinks.append(resources.enter_context(printed))
        if request.record is not None:
            recorder = MessageRecorder(request.record, greeting, lambda text: note(text))
            sinks.append(resources.enter_context(recorder))

        def tell(messages: Sequence[Message]) -> None:
            server.publish_all(messages)
            outlet.put(messages)

        observer, print_of = server.observer(), fingerprint(tagger.path)
        pool = resources.enter_context(SessionPool(tagger, slots, request.precision, workforce.processes))
        pool.warm_up(spec.batch if tagger.device != "cpu" else WARM_UP_STREAMS)
        engine = Scheduler(pool, tagger.tags, selection.thresholds, tell, spec, print_of, observer)
        with engine:
            server.attach(engine)
            _announce(request, server, engine, reporter)
            with ExitStack() as view:
                table = _table(request, server, engine)
                if table is not None:
                    view.enter_context(table)
                    sinks.append(table)
                    note = table.note
                group, is_measuring = SinkGroup(sinks), engine.stats.is_measuring
                while not (interruption.wanted or group.has_failed):
                    if is_measuring and not engine.stats.is_measuring:
                        is_measuring = False
                        note(f"room for {plural(engine.stats.capacity, 'live stream')}, as measured")
                    _write(outlet, group, note, WAIT_S)
                    if table is not None:
                        table.draw()
            server.detach()
            reporter.note(f"ending {plural(engine.stats.streams, 'stream')}")
        _write(outlet, group, reporter.note, 0)
        group.raise_failure()


def _table(request: ServeRequest, server: ServerThread, engine: Scheduler) -> StreamsTable | None:
    """Where there is a terminal that nothing else is written to."""
    console = Console(stderr=True, highlight=False)
    if not can_draw(console) or (request.json and sys.stdout.isatty()):
        return None
    return StreamsTable(
        console,
        server.address,
        lambda: ServerSnapshot(engine.stats, engine.streams, server.subscribers),
        request.top or TAGS,
    )


def _write(outlet: ConsoleQueue, sinks: SinkGroup, note: Callable[[str], None], timeout_s: float) -> None:
    """What has come in."""
    notices, messages = outlet.take(timeout_s)
    for notice in notices:
        note(notice)
    for message in messages:
        sinks.publish(message)
        if isinstance(message, End):
            frames = plural(message.frames, "frame")
            note(f"{message.stream}: ended after {format_time(message.seconds)}, {frames}")
        elif isinstance(message, Gap):
            note(f"{message.stream}: {message.lost_s:.2f} s of sound lost at {format_time(message.start)}")
        elif isinstance(message, Error) and message.stream is not None:
            note(f"{message.stream}: {message.message}")


def _sizes(request: ServeRequest, tagger: Tagger, workforce: ParallelismPlan) -> tuple[SchedulerConfig, int]:
    """How the engine works, and how many streams it has memory for. Raises SpecError."""
    on_a_gpu = tagger.device != "cpu"
    slots = request.max_streams or (SLOTS_ON_A_GPU if on_a_gpu else SLOTS_A_CORE * workforce.cores)
    spec = SchedulerConfig(workforce.threads, workforce.cores, max_streams=request.max_streams)
    return (replace(spec, batch=ON_A_GPU) if on_a_gpu else spec), slots


def _announce(request: ServeRequest, server: ServerThread, engine: Scheduler, reporter: Reporter) -> None:
    where, load = server.address, engine.stats
    reporter.note(f"serving on {where}")
    reporter.note(f"producers connect to {where.replace('http', 'ws', 1)}ingest/NAME")
    more = ", and more when it is measured how many" if load.is_measuring else ""
    reporter.note(f"room for {plural(load.capacity, 'live stream')}{more}")
    if this_machine_alone(request.serve.host):
        return
    if request.serve.token is None and request.ingest_token is None:
        reporter.note("whoever reaches this address can send sound: --ingest-token WORD asks for a word")
    if request.serve.token is None:
        reporter.note("whoever reaches this address can subscribe: --token WORD asks for a word")
