"""The interface of all outputs, and the group that gives every message to each of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile


class Sink(Protocol):
    """An output of streams. Implement `write`, and override the others where there is something to do.

    `begin` precedes a stream's messages, which come in order of time; the last one is its `End`. Methods raise
    OutputError when writing fails, and BrokenPipeError when the reader has closed the pipe.
    """

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        """Prepare for a stream. The timeline grows with its frames and is complete when `End` is written."""
        return  # not abstract, unlike an empty body

    @abstractmethod
    def write(self, message: Message) -> None:
        """Write one message. Frames contain all tags and concepts, in the model's order, in full precision."""

    def close(self) -> None:
        """Write what is pending and release resources."""
        return


class CallbackSink(Sink):
    """A sink that passes messages to a callable, such as `ServerThread.publish`."""

    def __init__(self, write: Callable[[Message], None]) -> None:
        self._write = write

    def write(self, message: Message) -> None:
        self._write(message)


class StreamFiles(Sink):
    """Writes one file per stream when it ends."""

    def __init__(
        self,
        paths: Mapping[str, Path],
        selection: Selection,
        contents: Callable[[Timeline, Selection, Path], bytes],
        on_written: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """paths: the file of each stream, by the stream's name. on_written: called with each complete file.

        contents: returns what a stream's file contains, from its complete timeline.
        """
        self._paths = paths
        self._selection = selection
        self._contents = contents
        self._on_written = on_written
        self._timeline = Timeline("", selection.labels)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            path = self._paths[message.stream]
            with AtomicFile(path) as output:
                output.file.buffer.write(self._contents(self._timeline, self._selection, path))
            self._on_written(path)


class SinkGroup:
    """Gives each message to all sinks. A sink that fails gets nothing more; the others still get everything.

    The owner checks `has_failed` to stop early, and calls `raise_failure` once the stream has ended.
    """

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._failure: Exception | None = None  # the first one

    @property
    def has_failed(self) -> bool:
        """Whether a sink has failed."""
        return self._failure is not None

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        for sink in self._sinks:
            try:
                sink.begin(stream, timeline)
            except Exception as error:
                self._drop(sink, error)

    def publish(self, message: Message) -> None:
        for sink in self._sinks:
            try:
                sink.write(message)
            except Exception as error:
                self._drop(sink, error)

    def raise_failure(self) -> None:
        """Raise the error of the sink that failed first, if any."""
        if self._failure is not None:
            raise self._failure

    def _drop(self, sink: Sink, error: Exception) -> None:
        self._failure = self._failure or error
        self._sinks = tuple(other for other in self._sinks if other is not sink)
