"""What waits of one stream: sound, and what is to be known between it, oldest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from streamtag.scheduler.pcm_format import PcmFormat


@dataclass(slots=True)
class Sound:
    """Whole samples. arrived: when the last of them came; made: when it was made, as far as one can tell."""

    data: bytes | memoryview
    samples: int
    format: PcmFormat
    arrived: float
    made: float


@dataclass(slots=True)
class MissingAudio:
    """So many samples of the producer never came, or were thrown away for want of time."""

    samples: int
    thrown: bool = False


@dataclass(slots=True)
class FormatChange:
    """What comes now is of another format."""

    before: PcmFormat
    format: PcmFormat

    def place(self, before: int) -> int:
        """The producer's own count of a sample, at its new rate."""
        return round(before * self.format.rate / self.before.rate)


Item = Sound | MissingAudio | FormatChange


class PcmQueue:
    """Owned by whoever holds the lock around it. samples, bytes: of the sound in it. special: items that are none.

    taken: the producer's own count of the sample that is taken next.
    """

    def __init__(self, taken: int) -> None:
        self.samples = 0
        self.bytes = 0
        self.special = 0
        self.taken = taken
        self._items: deque[Item] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, item: Item) -> None:
        if isinstance(item, Sound):
            self.samples += item.samples
            self.bytes += len(item.data)
        else:
            self.special += 1
        self._items.append(item)

    def take(self, samples: int) -> Item | None:
        """Up to so many samples of sound, as one piece; or what else comes next; None if nothing waits."""
        if not self._items:
            return None
        head = self._items[0]
        if not isinstance(head, Sound):
            self._items.popleft()
            self.special -= 1
            self.taken = self.taken + head.samples if isinstance(head, MissingAudio) else head.place(self.taken)
            return head
        parts, left = [], samples
        while left > 0 and self._items and isinstance(sound := self._items[0], Sound):
            parts.append(self._cut(sound, left))
            left -= parts[-1].samples
        last, count = parts[-1], samples - left
        self.taken += count
        data = last.data if len(parts) == 1 else b"".join([part.data for part in parts])
        return Sound(data, count, last.format, last.arrived, last.made)

    @property
    def oldest(self) -> float | None:
        """When the sound that waits longest came."""
        return next((item.arrived for item in self._items if isinstance(item, Sound)), None)

    def arrival(self, samples: int) -> float | None:
        """When so many samples were there; None if they are not, or something else lies before them."""
        for sound in self._sounds():
            samples -= sound.samples
            if samples <= 0:
                return sound.arrived
        return None

    def older(self, than: float) -> int:
        """Samples at its head that arrived before a time."""
        count = 0
        for sound in self._sounds():
            if sound.arrived >= than:
                break
            count += sound.samples
        return count

    def throw_away(self, beyond: int) -> None:
        """The oldest sound, until no more bytes wait than so many: it is missing from now on."""
        kept: list[Item] = []
        while self._items and self.bytes > beyond:
            item = self._items.popleft()
            if not isinstance(item, Sound):
                kept.append(item)
                continue
            self.samples -= item.samples
            self.bytes -= len(item.data)
            if kept and isinstance(last := kept[-1], MissingAudio) and last.thrown:
                last.samples += item.samples
            else:
                kept.append(MissingAudio(item.samples, thrown=True))
                self.special += 1
        self._items.extendleft(reversed(kept))

    def _sounds(self) -> Iterator[Sound]:
        """The sound before anything else."""
        for item in self._items:
            if not isinstance(item, Sound):
                return
            yield item

    def _cut(self, sound: Sound, most: int) -> Sound:
        """Up to so many samples of the head."""
        part = sound
        if sound.samples <= most:
            self._items.popleft()
        else:
            view, end = memoryview(sound.data), most * sound.format.sample_bytes
            made = sound.made - (sound.samples - most) / sound.format.rate
            part = Sound(view[:end], most, sound.format, sound.arrived, made)
            sound.data, sound.samples = view[end:], sound.samples - most
        self.samples -= part.samples
        self.bytes -= len(part.data)
        return part
