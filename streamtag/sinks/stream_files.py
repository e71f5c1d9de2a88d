"""Outputs that write one file per stream, from its complete timeline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile
from streamtag.sinks.base import Sink, ignore_path


class StreamFiles(Sink):
    """Writes one file per stream when it ends. Implement `contents`."""

    def __init__(
        self, paths: Mapping[str, Path], selection: Selection, on_written: Callable[[Path], None] = ignore_path
    ) -> None:
        """paths: the file of each stream, by the stream's name. on_written: called with each complete file."""
        self._paths = paths
        self._selection = selection
        self._on_written = on_written
        self._timeline = Timeline("", selection.labels)

    @abstractmethod
    def contents(self, timeline: Timeline, selection: Selection, path: Path) -> bytes:
        """Return what a stream's file contains, from its complete timeline. path: the file."""

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            path = self._paths[message.stream]
            with AtomicFile(path) as output:
                output.file.buffer.write(self.contents(self._timeline, self._selection, path))
            self._on_written(path)
