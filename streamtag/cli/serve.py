"""`streamtag serve`: many producers send audio, many subscribers read tags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.message_outputs import MessageOutputs, with_outputs
from streamtag.cli.options import option
from streamtag.cli.program import Section
from streamtag.cli.runtime import Reporter, SignalGuard, load_model, run_command, warn_if_open
from streamtag.text import is_loopback, plural, usable_cores

if TYPE_CHECKING:
    from streamtag.protocol.messages import Message
    from streamtag.scheduler.scheduler import Scheduler
    from streamtag.server.config import IngestConfig, ServerConfig
    from streamtag.server.thread import ServerThread
    from streamtag.sinks.base import Sink

EPILOG = f"""\b
Examples:
  streamtag serve 8765                         # page: http://127.0.0.1:8765/
  streamtag serve 0.0.0.0:8765 --ingest-token TOKEN --token OTHER
  streamtag serve 8765 --json --top 3 > tags.jsonl
  streamtag watch ws://127.0.0.1:8765/streams/hall-2

Producers connect to ws://HOST:PORT/ingest/NAME and send raw PCM:
`streamtag help protocol` describes it, examples/producer.py is a complete one.

{EXIT_CODES}
"""

SLOTS_PER_CORE, GPU_SLOTS = 1024, 16384  # 80 kB each, allocated when used; more than one has time for
GPU_BATCH = 512  # streams in one step
POLL_INTERVAL_S = 0.1  # between two checks for signals


@dataclass(frozen=True)
class ParallelismPlan:
    """processes: workers that compute, one per core; None: the threads compute. threads: of the scheduler; beside
    processes there are two more, which prepare the next steps meanwhile."""

    processes: int | None
    threads: int

    @property
    def cores(self) -> int:
        """Cores in use."""
        return self.processes or self.threads

    @classmethod
    def of(cls, device: str, workers: int | None = None) -> ParallelismPlan:
        """workers: cores to use; None: all that this process may use. A GPU needs one thread."""
        from streamtag.inference.worker import available

        if device != "cpu":
            return cls(None, workers or 1)
        count = workers or usable_cores()
        return cls(count, count + 2) if available() else cls(None, count)


@as_command("serve", EPILOG)
@options.with_verbosity
@with_outputs
def serve(
    where: Annotated[
        str,
        typer.Argument(
            metavar="[HOST:]PORT", help="Address to serve on; HOST is 127.0.0.1 by default.", show_default=False
        ),
    ],
    outputs: MessageOutputs,
    token: options.Token = None,
    ingest_token: Annotated[
        str | None,
        option(
            "--ingest-token TOKEN",
            Section.serving,
            "Password that producers need (?token=TOKEN); by default that of subscribers.",
            envvar="STREAMTAG_INGEST_TOKEN",
        ),
    ] = None,
    max_streams: Annotated[
        int | None,
        option(
            "--max-streams N",
            Section.serving,
            "Maximum number of streams; by default as many as fit.",
            min=1,
            max=100_000,
        ),
    ] = None,
    max_producers_per_client: Annotated[
        int,
        option(
            "--max-producers-per-client N",
            Section.serving,
            "Maximum number of streams from one address (clients of one proxy share its address).",
            min=1,
            max=100_000,
        ),
    ] = 64,
    max_clients: options.MaxClients = None,
    workers: Annotated[
        int | None, option("--workers N", Section.model, "Worker processes; by default one per core.", min=1, max=256)
    ] = None,
    precision: options.PrecisionOption = "float32",
    json: options.JsonLines = False,
    top: Annotated[
        int | None,
        option("--top N", Section.shown, "Only the N strongest tags and concepts of each JSON frame.", min=1),
    ] = None,
    tags: options.Tags = None,
    concepts: options.Concepts = None,
    threshold: options.Threshold = None,
    record: options.Record = None,
    allow_origin: options.AllowOrigin = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    model: options.Model = None,
    device: options.ComputeDevice = "auto",
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Tag many live streams at once: producers send audio over WebSockets, subscribers read the tags of any or all.

    Streams are processed together in batches. A producer for which there is no room receives HTTP 503 with
    Retry-After, and the others continue. Ctrl-C ends all streams.
    """
    config = options.server_config(where, token, max_clients, allow_origin, tls_cert, tls_key)
    assert config is not None

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        outputs.check([record])

        import torch  # after this check, which needs no slow import

        from streamtag.cli.serve_output import MAX_QUEUED_PER_STREAM, ConsoleQueue, table_snapshot, write_queued
        from streamtag.inference.batch import SessionPool
        from streamtag.model.model_file import fingerprint
        from streamtag.scheduler.config import SchedulerConfig
        from streamtag.scheduler.scheduler import Scheduler
        from streamtag.server.config import IngestConfig
        from streamtag.server.thread import ServerThread
        from streamtag.sinks.background import BackgroundSink
        from streamtag.sinks.base import SinkGroup
        from streamtag.sinks.jsonl import JsonLines, MessageRecorder, write_line
        from streamtag.terminal.stream_table import StreamsTable, TableSnapshot

        tagger, selection, greeting = load_model(model, device, tags, concepts, top, threshold, reporter)
        if tagger.device == "cpu":
            torch.set_num_threads(1)  # per worker; two in one operation would busily wait for each other
        plan = ParallelismPlan.of(tagger.device, workers)
        reporter.detail(f"worker processes: {plan.processes or 'none'}, threads of the scheduler: {plan.threads}")
        limits = SchedulerConfig(plan.threads, plan.cores, max_streams=max_streams)
        slots = max_streams or SLOTS_PER_CORE * plan.cores
        if tagger.device != "cpu":
            limits, slots = replace(limits, batch=GPU_BATCH), max_streams or GPU_SLOTS
        max_queued = max(1024, MAX_QUEUED_PER_STREAM * slots)
        queue = ConsoleQueue(max_queued)
        with ExitStack() as resources:
            resources.enter_context(guard)
            ingest = IngestConfig(ingest_token, max_producers_per_client, slots)
            server = resources.enter_context(ServerThread(outputs.shown_by(config), greeting, ingest, queue.notify))
            reporter.publish_to.append(server.publish)
            sinks: list[Sink] = []
            if json:
                write_line(sys.stdout, greeting)
                printed = BackgroundSink([JsonLines(sys.stdout, selection)], max_queued)
                sinks.append(resources.enter_context(printed))
            if record is not None:
                sinks.append(resources.enter_context(MessageRecorder(record, greeting, reporter.note)))
            stored = outputs.open_history(
                resources, reporter.note, greeting, tagger.path, lambda _: "ws client", max_queued
            )
            sinks += [*stored, *outputs.open_mqtt(resources, reporter.notify, greeting, selection)]

            def publish(messages: Sequence[Message]) -> None:
                server.publish_all(messages)
                queue.put_all(messages)

            pool = resources.enter_context(SessionPool(tagger, slots, precision, plan.processes, wait_for_start=False))
            if tagger.device != "cpu":
                pool.warm_up(limits.batch)  # capturing a GPU's work beside live streams would make them late
            scheduler = Scheduler(
                pool,
                publish,
                limits,
                model=fingerprint(tagger.path),
                observer=server.observer(),
                thresholds=selection.concept_thresholds,
            )

            def snapshot() -> TableSnapshot:
                return table_snapshot(server.address, scheduler.stats, scheduler.streams, server.subscribers)

            with scheduler:
                server.attach(scheduler)
                _announce(config, ingest, server, scheduler, reporter)
                with ExitStack() as view:
                    table = None
                    if (console := reporter.view_console(json)) is not None:
                        table = view.enter_context(StreamsTable(console, snapshot, selection))
                        sinks.append(table)
                        reporter.view = table
                    group, is_measuring = SinkGroup(sinks), scheduler.stats.is_measuring
                    while not (guard.stop_requested or group.has_failed):
                        pool.check_started()
                        if is_measuring and not scheduler.stats.is_measuring:
                            is_measuring = False
                            reporter.note(f"room for {plural(scheduler.stats.capacity, 'live stream')}, as measured")
                        write_queued(queue, group, reporter.note, POLL_INTERVAL_S)
                        if table is not None:
                            table.draw()
                server.detach()
                reporter.note(f"ending {plural(scheduler.stats.streams, 'stream')}")
            write_queued(queue, group, reporter.note, 0)
            group.raise_failure()
        for notice in queue.read(0)[0]:  # of outputs that were closed
            reporter.note(notice)

    return run_command(json, work, verbosity)


def _announce(
    config: ServerConfig,
    ingest: IngestConfig,
    server: ServerThread,
    scheduler: Scheduler,
    reporter: Reporter,
) -> None:
    reporter.note(f"serving on {server.address}")
    reporter.note(f"producers connect to {server.address.replace('http', 'ws', 1)}ingest/NAME")
    more = ", and more when it is measured how many" if scheduler.stats.is_measuring else ""
    reporter.note(f"room for {plural(scheduler.stats.capacity, 'live stream')}{more}")
    if config.token is None and ingest.token is None and not is_loopback(config.host):
        reporter.note("anyone who can reach this address can send audio: --ingest-token TOKEN asks for a password")
    warn_if_open(config, reporter)
