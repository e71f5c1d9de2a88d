"""Many sources of one `streamtag listen`: each a stream in the batch of one scheduler, read by a thread of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from enum import StrEnum
from math import ceil
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.devices import PortAudio, SoundSystem, sound_library
from streamtag.audio.level_meter import Meter
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import NO_SAMPLES, AudioChunk, SourceNotice
from streamtag.cli.live_inputs import LiveInput
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.cli.runtime import SignalGuard
from streamtag.cli.serve_output import MAX_QUEUED_PER_STREAM, ConsoleQueue, notice_of
from streamtag.errors import SourceError
from streamtag.protocol.messages import End, Error, Gap, Message
from streamtag.protocol.selection import Selection
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.producer_handle import ProducerHandle
from streamtag.scheduler.scheduler import Scheduler
from streamtag.sinks.base import SinkGroup
from streamtag.terminal.keys import Keys
from streamtag.terminal.stream_table import StreamRow, TableSnapshot
from streamtag.text import plural, usable_cores

if TYPE_CHECKING:
    from streamtag.api import Tagger
    from streamtag.cli.live_outputs import LiveOutputs

FORMAT = PcmFormat(SAMPLE_RATE, "f32le", 1)
# Stations arrive whole seconds late, and some seconds at once when they are connected, of which nothing may be shed:
# large batches matter more than the deadline. With ten stations a window of 25 ms would cost a fifth more CPU time.
LIMITS = SchedulerConfig(batch_window_s=0.1, deadline_s=2.0, shed_after_s=9.0, buffer_s=10.0, max_lead_s=10.0)
STREAMS_PER_THREAD = 16  # ten take up to half a core; two worker processes would cost twice as much, and 0.4 GB
POLL_INTERVAL_S = 0.1  # how long a source waits for room before it looks whether it should stop
JOIN_TIMEOUT_S = 3.0  # for all sources together; one that is stuck ends with the program
log = logging.getLogger("streamtag.cli")
log.addHandler(logging.NullHandler())


class SourceState(StrEnum):
    connecting = "connecting"
    connected = "connected"
    retrying = "retrying"  # it is not there now, and looked for again
    ended = "ended"


class Station:
    """One source and its stream. Its thread reads the source; others may read the attributes.

    gaps, lost_s: audio that is missing, counted by those who read the messages. has_failed: it cannot be used at all.
    stop_requested: set by the owner.
    """

    def __init__(self, input: LiveInput, name: str, publish: Callable[[Message], None], notify: Callable[[str], None]):
        """publish, notify: get the messages and notices about the source, from its thread."""
        self.name = name
        self.state = SourceState.connecting
        self.gaps, self.lost_s = 0, 0.0
        self.has_failed = False
        self._input, self._publish, self._notify = input, publish, notify
        self.stop_requested, self._is_writable = Event(), Event()
        self._meter = Meter()
        self._producer: ProducerHandle | None = None
        self._thread: Thread | None = None

    @property
    def label(self) -> tuple[str, str]:
        """What a table says of its state, and in which style."""
        if self.has_failed:
            return "failed", "red"
        if self.state is SourceState.connected:
            return (f"{plural(self.gaps, 'gap')}, {self.lost_s:.1f} s", "red") if self.gaps else ("", "")
        return self.state.value, "yellow" if self.state is SourceState.retrying else "dim"

    def start(self, scheduler: Scheduler, system: SoundSystem, limits: Limits) -> None:
        """Open the stream, and the source in a thread."""
        self._producer = scheduler.open(self.name, FORMAT, None, self._is_writable.set)
        self._thread = Thread(target=self._run, args=(system, limits), name=f"streamtag-{self.name}", daemon=True)
        self._thread.start()

    def add_gap(self, gap: Gap) -> None:
        self.gaps, self.lost_s = self.gaps + 1, self.lost_s + gap.lost_s

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    # --- the input of LiveRunner -----------------------------------------------------------------------------------

    @property
    def producer(self) -> ProducerHandle:
        assert self._producer is not None
        return self._producer

    @property
    def seconds(self) -> float:
        return self.producer.position / SAMPLE_RATE

    def feed(self, samples: NDArray[np.float32], captured_at: float) -> None:
        """Push the samples [n], n > 0, and wait until there is room for more."""
        self.state = SourceState.connected
        self._is_writable.clear()
        if not self.producer.push(samples.tobytes(), captured_at):
            while not (self._is_writable.wait(POLL_INTERVAL_S) or self.stop_requested.is_set()):
                pass

    def insert_gap(self, samples: int) -> None:
        self._meter.add_gap(samples / SAMPLE_RATE)
        self.producer.skip(samples)

    def reset_context(self) -> None:
        self.producer.reset_context()

    def report_error(self, text: str) -> None:
        self.state = SourceState.retrying
        self._publish(Error(text, self.name))

    # --- its thread ------------------------------------------------------------------------------------------------

    def _run(self, system: SoundSystem, limits: Limits) -> None:
        try:
            with closing(self._input.open(system=system, is_persistent=True)) as source:
                runner = LiveRunner(source, self, self._meter, limits, self._on_notice)
                first = AudioChunk(NO_SAMPLES, time.monotonic())
                runner.run(first, lambda: not self.stop_requested.is_set())
        except SourceError as error:
            self._fail(str(error))
        except Exception as error:  # a defect: the others continue
            log.exception("source %s failed", self.name)
            self._fail(f"the source cannot go on: {error!r}")
        finally:
            self.producer.end()
            self.state = SourceState.ended

    def _fail(self, reason: str) -> None:
        self.has_failed = True
        self._publish(Error(reason, self.name))

    def _on_notice(self, notice: SourceNotice) -> None:
        if not notice.is_problem:  # a problem is published as an error
            self._notify(f"{self.name}: {notice.text}")


class Stations:
    """All sources, in their order, and the scheduler that their streams share. Used by the main thread."""

    def __init__(self, tagger: Tagger, selection: Selection, inputs: Sequence[LiveInput], limits: Limits) -> None:
        """inputs: with a name each."""
        self._tagger, self._selection, self._limits = tagger, selection, limits
        self._queue = ConsoleQueue(max(1024, MAX_QUEUED_PER_STREAM * len(inputs)))
        self._has_sound_input = any(each.where is None for each in inputs)
        stations = [Station(each, each.stream_name, self._put, self._queue.notify) for each in inputs]
        self._stations = {station.name: station for station in stations}
        self._scheduler: Scheduler | None = None
        self._ended: dict[str, End] = {}

    @property
    def names(self) -> list[str]:
        return list(self._stations)

    def snapshot(self) -> TableSnapshot:
        """Return what a table shows: a summary, and a row for each source."""
        stats = {} if self._scheduler is None else {stream.name: stream for stream in self._scheduler.streams}
        rows = []
        for station in self._stations.values():
            stream, end = stats.get(station.name), self._ended.get(station.name)
            seconds = stream.seconds if stream is not None else end.seconds if end is not None else 0.0
            is_connected = station.state is SourceState.connected
            lag_s = stream.lag_s if stream is not None and is_connected else None
            state, style = station.label
            rows.append(StreamRow(station.name, seconds, lag_s, state, style))
        connected = sum(station.state is SourceState.connected for station in self._stations.values())
        return TableSnapshot(f"{plural(len(rows), 'stream')}, {connected} connected", "", rows)

    def run(self, outputs: LiveOutputs, guard: SignalGuard) -> None:
        """Tag them until all have ended, the user stops them or an output fails. Raises what the output raised."""
        from streamtag.inference.batch import SessionPool  # late: torch

        is_cpu = self._tagger.device == "cpu"
        threads = min(usable_cores(), ceil(len(self._stations) / STREAMS_PER_THREAD)) if is_cpu else 1
        config = replace(LIMITS, workers=threads, max_streams=len(self._stations))
        pool = SessionPool(self._tagger, len(self._stations))
        if not is_cpu:
            pool.warm_up(config.batch)
        group, table = SinkGroup(outputs.sinks), outputs.table
        with ExitStack() as shown:
            thresholds = self._selection.concept_thresholds
            with Scheduler(pool, self._queue.put_all, config, thresholds=thresholds) as self._scheduler:
                keys = None if table is None else shown.enter_context(Keys(shown.enter_context(table)))
                self._start(self._scheduler)
                try:
                    while not (guard.stop_requested or group.has_failed or self._have_ended()):
                        self._write(group, outputs, POLL_INTERVAL_S)
                        if table is not None:
                            table.draw()
                        if keys is not None and keys.read() == "q":
                            break
                finally:
                    self._stop()
            self._write(group, outputs, 0)
        group.raise_failure()

    def _have_ended(self) -> bool:
        return all(station.state is SourceState.ended for station in self._stations.values())

    def _start(self, scheduler: Scheduler) -> None:
        system = PortAudio()
        for station in self._stations.values():
            station.start(scheduler, system, self._limits)
        if self._has_sound_input:
            with suppress(SourceError):  # which they report
                sound_library()  # it turns standard error off while it starts: wait, so that no line is lost

    def _stop(self) -> None:
        for station in self._stations.values():
            station.stop_requested.set()
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        for station in self._stations.values():
            station.join(max(0.0, deadline - time.monotonic()))

    def _put(self, message: Message) -> None:
        self._queue.put_all([message])

    def _write(self, sinks: SinkGroup, outputs: LiveOutputs, timeout_s: float) -> None:
        """Write what the streams have published, and show what happened to them."""
        notices, messages = self._queue.read(timeout_s)
        for notice in notices:
            outputs.reporter.note(notice)
        failed = {name for name, station in self._stations.items() if station.has_failed}
        for message in messages:
            sinks.publish(message)
            if isinstance(message, Gap):
                self._stations[message.stream].add_gap(message)
            if isinstance(message, End):
                self._ended[message.stream] = message
            elif isinstance(message, Error) and message.stream in failed:
                outputs.reporter.fail(f"{message.stream}: {message.message}")
            elif (text := notice_of(message)) is not None:
                outputs.reporter.note(text)
