"""Audio of one stream that waits to be processed, in order of arrival, with losses and format changes in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from streamtag.audio.pcm import PcmFormat


@dataclass(slots=True)
class PcmBlock:
    """Whole samples. arrival: when the last of them arrived; recorded: when it was recorded, as far as is known."""

    data: bytes | memoryview
    samples: int
    format: PcmFormat
    arrival: float
    recorded: float


@dataclass(slots=True)
class MissingAudio:
    """Samples of the producer that never arrived, or that were dropped (was_dropped) because too many waited."""

    samples: int
    was_dropped: bool = False


@dataclass(slots=True)
class FormatChange:
    """A new format for the audio that follows."""

    old: PcmFormat
    new: PcmFormat

    def convert(self, position: int) -> int:
        """Return a sample count of the old format as one of the new."""
        return round(position * self.new.rate / self.old.rate)


@dataclass(frozen=True, slots=True)
class ContextReset:
    """The network's recurrent state is reset before the audio that follows."""


QueueItem = PcmBlock | MissingAudio | FormatChange | ContextReset


class PcmQueue:
    """Hold the items of one stream. The caller holds the lock around it.

    samples, bytes: of the audio in it. markers: number of items that are not audio. position: the producer's count of
    the sample that is read next.
    """

    def __init__(self, position: int) -> None:
        self.samples = 0
        self.bytes = 0
        self.markers = 0
        self.position = position
        self._items: deque[QueueItem] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    def append(self, item: QueueItem) -> None:
        if isinstance(item, PcmBlock):
            self.samples += item.samples
            self.bytes += len(item.data)
        else:
            self.markers += 1
        self._items.append(item)

    def read(self, samples: int) -> QueueItem | None:
        """Return at most so many samples as one block, or the marker that comes next, or None if nothing waits."""
        if not self._items:
            return None
        head = self._items[0]
        if not isinstance(head, PcmBlock):
            self._items.popleft()
            self.markers -= 1
            if isinstance(head, MissingAudio):
                self.position += head.samples
            elif isinstance(head, FormatChange):
                self.position = head.convert(self.position)
            return head
        parts, left = [], samples
        while left > 0 and self._items and isinstance(block := self._items[0], PcmBlock):
            parts.append(self._split(block, left))
            left -= parts[-1].samples
        last, count = parts[-1], samples - left
        self.position += count
        data = last.data if len(parts) == 1 else b"".join([part.data for part in parts])
        return PcmBlock(data, count, last.format, last.arrival, last.recorded)

    @property
    def oldest_arrival(self) -> float | None:
        """When the audio that waits longest arrived, or None."""
        return next((item.arrival for item in self._items if isinstance(item, PcmBlock)), None)

    def arrival_of(self, samples: int) -> float | None:
        """Return when so many samples had arrived, or None if they have not, or a marker lies before them."""
        for block in self._leading_blocks():
            samples -= block.samples
            if samples <= 0:
                return block.arrival
        return None

    def count_older_than(self, time: float) -> int:
        """Return how many samples at the head arrived before the given time."""
        count = 0
        for block in self._leading_blocks():
            if block.arrival >= time:
                break
            count += block.samples
        return count

    def drop_oldest(self, max_bytes: int) -> None:
        """Replace the oldest audio by MissingAudio until at most max_bytes wait."""
        kept: list[QueueItem] = []
        while self._items and self.bytes > max_bytes:
            item = self._items.popleft()
            if not isinstance(item, PcmBlock):
                kept.append(item)
                continue
            self.samples -= item.samples
            self.bytes -= len(item.data)
            if kept and isinstance(last := kept[-1], MissingAudio) and last.was_dropped:
                last.samples += item.samples
            else:
                kept.append(MissingAudio(item.samples, was_dropped=True))
                self.markers += 1
        self._items.extendleft(reversed(kept))

    def _leading_blocks(self) -> Iterator[PcmBlock]:
        for item in self._items:
            if not isinstance(item, PcmBlock):
                return
            yield item

    def _split(self, block: PcmBlock, samples: int) -> PcmBlock:
        """Remove at most so many samples from the head, which is the given block."""
        part = block
        if block.samples <= samples:
            self._items.popleft()
        else:
            view, end = memoryview(block.data), samples * block.format.sample_bytes
            recorded = block.recorded - (block.samples - samples) / block.format.rate
            part = PcmBlock(view[:end], samples, block.format, block.arrival, recorded)
            block.data, block.samples = view[end:], block.samples - samples
        self.samples -= part.samples
        self.bytes -= len(part.data)
        return part
