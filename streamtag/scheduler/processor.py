"""One step of the streams that a worker has taken: from bytes to messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamtag.inference.events import EventDetectorBank
from streamtag.inference.frame import TagFrame
from streamtag.inference.pipeline import end_messages, frame_messages
from streamtag.protocol.messages import End, Error, Message
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
    """What a step did. finished_at: by the clock, None if it failed as a whole. ended: streams that have ended.
    lags_s: time from each hop of a live stream to its message."""

    finished_at: float | None = None
    seconds: float = 0.0
    hops: int = 0
    ended: list[ScheduledStream] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    shed_s: list[float] = field(default_factory=list)


class BatchProcessor:
    """Process steps. Several workers may use it at once, for different streams."""

    def __init__(
        self, pool: SessionPool, bank: EventDetectorBank, publish: Publish, model: str, clock: Callable[[], float]
    ) -> None:
        """bank: with a row for each of the pool's slots that is used. model: fingerprint for exported states."""
        self._pool, self._bank, self._publish = pool, bank, publish
        self._model, self._clock = model, clock

    def step(self, streams: Sequence[ScheduledStream]) -> StepResult:
        """Process one hop of each stream that has one, and what else is to be done for them. Raises nothing: whatever
        fails ends the streams that it concerns, and gives their places back."""
        result, messages = StepResult(), list[Message]()
        try:
            self._step(streams, result, messages)
        except Exception as error:  # a defect: no caller may wait for these streams for ever
            log.exception("a step failed")
            result.ended = list(streams)
            self._close(streams, messages, error)
        for stream in streams:
            self.answer_state_requests(stream)
        return result

    def _step(self, streams: Sequence[ScheduledStream], result: StepResult, messages: list[Message]) -> None:
        start = self._clock()
        ready = [stream for stream in streams if self._prepare(stream, start, messages, result)]
        by_session = {stream.session: stream for stream in ready}
        try:
            stepped = self._pool.step(by_session)
            frames = [(by_session[session], frame) for session, new in stepped for frame in new]
            self._add_frames(frames, messages)
        except Exception as error:  # a defect, or a device that failed: these streams end, the others continue
            log.exception("a step failed")
            for stream in ready:
                self._fail(stream, error, messages, result)
            ready = []
        result.ended += [stream for stream in streams if stream not in result.ended and stream.is_finished]
        for stream in result.ended:
            self._end(stream, messages)
        self._send(messages)
        now = self._clock()
        result.lags_s += [lag for stream in ready if (lag := stream.mark_delivered(now)) is not None]
        result.seconds, result.hops, result.finished_at = now - start, len(ready), now

    def import_state(self, stream: ScheduledStream, state: StreamState) -> None:
        """Let a new stream continue at the state. Raises SpecError if the state is damaged."""
        resampler, samples = IngestResampler.from_state(state.resampler)
        row = self._bank.add(state.events)
        try:
            session = self._pool.add(state.session)
        except BaseException:
            self._bank.remove(row)
            raise
        session.feed(samples)
        stream.begin(session, row, resampler)

    def close(self, streams: Sequence[ScheduledStream]) -> None:
        """End the streams where they are, without processing more of their audio."""
        self._close(streams, [])

    def answer_state_requests(self, stream: ScheduledStream) -> None:
        """Export the stream's state for those who wait for it, unless hops have to be processed before."""
        while stream.state_requests and (stream.has_ended or stream.can_export or not stream.continues):
            future = stream.state_requests.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if stream.has_ended or not stream.can_export:
                    raise UnknownStream(f"{stream.name}: the stream has ended")
                session, resampler = stream.session.export_state(), stream.resampler.export_state()
                events, position = self._bank.export_state(stream.row), stream.buffer.read_position
                future.set_result(StreamState(session, resampler, events, position).to_bytes(self._model))
            except Exception as error:
                future.set_exception(error)

    def _close(
        self, streams: Sequence[ScheduledStream], messages: list[Message], error: Exception | None = None
    ) -> None:
        for stream in streams:
            if stream.is_closed:
                continue
            if error is not None:
                messages.append(_error_message(stream, error))
            stream.abandon(messages)
            self._end(stream, messages)
        self._send(messages)

    def _prepare(self, stream: ScheduledStream, now: float, messages: list[Message], result: StepResult) -> bool:
        """Feed the stream's session, and return whether it has a hop ready."""
        try:
            if not stream.has_session:
                stream.begin(self._pool.add(), self._bank.add())
            if shed_s := stream.prepare(now, messages):
                result.shed_s.append(shed_s)
            return stream.session.ready_hops > 0
        except Exception as error:
            log.exception("stream %s failed", stream.name)
            self._fail(stream, error, messages, result)
            return False

    def _add_frames(self, frames: Sequence[tuple[ScheduledStream, TagFrame]], messages: list[Message]) -> None:
        """Append the messages of these frames, at most one per stream."""
        events = self._bank.feed_frames([stream.row for stream, _ in frames], [frame for _, frame in frames])
        now = self._clock()
        for (stream, frame), changes in zip(frames, events, strict=True):
            messages += frame_messages(stream.name, frame, changes, self._bank, stream.latency_s(frame.time, now))

    def _end(self, stream: ScheduledStream, messages: list[Message]) -> None:
        """Append the stream's `end`, and give its place back."""
        stream.is_closed = True
        if not stream.has_session:
            messages.append(End(stream.name, stream.seconds, 0, {}))
            return
        stream.remove_session()
        messages += end_messages(stream.name, self._bank, stream.row, stream.seconds, stream.seconds)
        self._bank.remove(stream.row)

    def _fail(self, stream: ScheduledStream, error: Exception, messages: list[Message], result: StepResult) -> None:
        messages.append(_error_message(stream, error))
        result.ended.append(stream)

    def _send(self, messages: list[Message]) -> None:
        """Publish the messages and clear the list."""
        try:
            if messages:
                self._publish(messages)
        except Exception:
            log.exception("messages could not be published")
        messages.clear()


def _error_message(stream: ScheduledStream, error: Exception) -> Error:
    return Error(f"the stream cannot go on: {error}", stream.name)
