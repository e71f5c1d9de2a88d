"""What a worker does: one step of the streams that it has taken, from bytes to messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streamtag.inference.events import EventDetectorBank
from streamtag.inference.frame import TagFrame
from streamtag.protocol.messages import End, Error, Event, Frame, Message
from streamtag.scheduler.ingest_resampler import IngestResampler
from streamtag.scheduler.registry import UnknownStream
from streamtag.scheduler.stream import ScheduledStream
from streamtag.scheduler.stream_state import StreamState

if TYPE_CHECKING:
    from streamtag.inference.batch import SessionPool

Publish = Callable[[Sequence[Message]], None]
log = logging.getLogger("streamtag.scheduler")
log.addHandler(logging.NullHandler())


@dataclass
class StepResult:
    """What came of a step. over: streams that have ended; lags_s: how long each hop of a live stream was owed."""

    seconds: float = 0.0
    hops: int = 0
    over: list[ScheduledStream] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    shed_s: list[float] = field(default_factory=list)


class BatchProcessor:
    """Several workers do it at once, for different streams."""

    def __init__(
        self, pool: SessionPool, board: EventDetectorBank, tell: Publish, model: str, clock: Callable[[], float]
    ) -> None:
        self._pool, self._board, self._tell = pool, board, tell
        self._model, self._clock = model, clock

    def step(self, streams: Sequence[ScheduledStream]) -> StepResult:
        """One hop of each that has one, and what else is to be done for them."""
        done, messages, began = StepResult(), list[Message](), self._clock()
        ready = [stream for stream in streams if self._prepare(stream, began, messages, done)]
        by_session = {stream.session: stream for stream in ready}
        try:
            stepped = self._pool.step(by_session)
            frames = [(by_session[session], frame) for session, given in stepped for frame in given]
            self._note(frames, messages)
        except Exception as error:  # a defect, or a device that failed: these streams end, the others go on
            log.exception("a step failed")
            for stream in ready:
                self._fail(stream, error, messages, done)
            ready = []
        done.over += [stream for stream in streams if stream not in done.over and stream.done]
        for stream in done.over:
            self._end(stream, messages)
        self._say(messages)
        now = self._clock()
        done.lags_s += [lag for stream in ready if (lag := stream.told(now)) is not None]
        done.seconds, done.hops = now - began, len(ready)
        for stream in streams:
            self.export(stream)
        return done

    def adopt(self, stream: ScheduledStream, state: StreamState) -> None:
        """The stream, which is new, goes on there. Raises SpecError if the state is damaged."""
        intake, samples = IngestResampler.at(state.intake)
        row = self._board.add(state.row)
        try:
            session = self._pool.add(state.session)
        except BaseException:
            self._board.remove(row)
            raise
        session.feed(samples)
        stream.begin(session, row, intake)

    def close(self, streams: Sequence[ScheduledStream]) -> None:
        """They end as they stand, with nothing more computed."""
        messages: list[Message] = []
        for stream in streams:
            stream.give_up(messages)
            self._end(stream, messages)
        self._say(messages)

    def _prepare(self, stream: ScheduledStream, now: float, messages: list[Message], done: StepResult) -> bool:
        """-> whether it has a hop ready."""
        try:
            if not stream.begun:
                stream.begin(self._pool.add(), self._board.add())
            if shed_s := stream.prepare(now, messages):
                done.shed_s.append(shed_s)
            return stream.session.ready_hops > 0
        except Exception as error:
            log.exception("stream %s failed", stream.name)
            self._fail(stream, error, messages, done)
            return False

    def _note(self, frames: Sequence[tuple[ScheduledStream, TagFrame]], messages: list[Message]) -> None:
        """One frame of each of these streams, at most."""
        if not frames:
            return
        rows = np.array([stream.row for stream, _ in frames])
        probs = np.stack([frame.probs for _, frame in frames])
        events = self._board.feed(rows, probs, np.array([frame.time for _, frame in frames]))
        now, names = self._clock(), self._board.tags
        for (stream, frame), row, turned in zip(frames, probs.tolist(), events, strict=True):
            tags = dict(zip(names, row, strict=True))
            latency_s = stream.latency_s(frame.time, now)
            messages.append(Frame(stream.name, frame.index, frame.start, frame.end, tags, latency_s))
            messages += [Event(stream.name, *event) for event in turned]

    def _end(self, stream: ScheduledStream, messages: list[Message]) -> None:
        """Its `end`, and nothing of it is left but its name."""
        board, row = self._board, stream.row
        if not stream.begun:
            messages.append(End(stream.name, stream.seconds, 0, {}))
            return
        messages += [Event(stream.name, *event) for event in board.close(row, stream.seconds)]
        messages.append(End(stream.name, stream.seconds, board.frames(row), board.summary(row)))
        board.remove(row)
        stream.leave()

    def _fail(self, stream: ScheduledStream, error: Exception, messages: list[Message], done: StepResult) -> None:
        messages.append(Error(f"the stream cannot go on: {error}", stream.name))
        done.over.append(stream)

    def _say(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        try:
            self._tell(messages)
        except Exception:
            log.exception("messages could not be told")

    def export(self, stream: ScheduledStream) -> None:
        """Its state, for those who wait for it, unless hops of it must be done before."""
        while stream.errands and (stream.ended or stream.standing or not stream.goes_on):
            future = stream.errands.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if stream.ended or not stream.standing:
                    raise UnknownStream(f"{stream.name}: the stream has ended")
                row = self._board.export_state(stream.row)
                state = StreamState(stream.session.export_state(), stream.intake.state(), row, stream.inlet.taken)
                future.set_result(state.to_bytes(self._model))
            except Exception as error:
                future.set_exception(error)
