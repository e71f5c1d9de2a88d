"""What one stream was sent, and what was told of it: do the two agree?"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import Resampler
from streamtag.cli.bench.figures import music
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Event, Frame, Gap, Message

HOP, RATE = 4096, 16000
PIECES, PIECE_S = 6, 8.0
WATCHED = 3  # one account in so many is compared, frame by frame
ROUNDED_S = 0.002  # a time in a message has three decimals
BY_THE_CLOCK_S = 0.7  # how well two clocks agree on the length of an absence, both ends' waits included
SAME = 1e-3  # probabilities that differ by less are the same
ALIKE = 0.05  # where a gap's length is known to a millisecond only


@cache
def _pieces() -> list[NDArray[np.float32]]:
    return [music(PIECE_S, seed=number) for number in range(PIECES)]


def compose() -> None:
    """The music takes a while to make: not while somebody waits for it."""
    _pieces()


@dataclass(frozen=True)
class Sound:
    """A stream's own: a piece of music from a place of its own on, and a tone of a pitch of its own."""

    name: str
    format: PcmFormat

    def samples(self, start: int, end: int) -> NDArray[np.float32]:
        """[end - start, channels]"""
        seed = zlib.crc32(self.name.encode())
        piece = _pieces()[seed % PIECES]
        n = np.arange(start, end)
        pitch = 150.0 + 13.0 * (seed % 211)
        sound = 0.6 * piece[(n + seed % 99991) % len(piece)] + 0.15 * np.sin(2 * np.pi * pitch * n / RATE)
        channels = [sound * (1 + 0.3 * (-1) ** channel) for channel in range(self.format.channels)]
        return np.stack(channels, axis=1).astype(np.float32)

    def data(self, start: int, end: int) -> bytes:
        """As it goes over the wire."""
        samples = self.samples(start, end)
        if self.format.encoding == "f32le":
            return samples.astype("<f4").tobytes()
        return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


@dataclass(frozen=True)
class Sent:
    """Samples of the sound from start to end: for the server, the next of the stream."""

    start: int
    end: int


@dataclass(frozen=True)
class Lost:
    """Sound that the server was not sent. seconds: None if only the clock tells. slack_s: how well it is known."""

    seconds: float
    slack_s: float = ROUNDED_S


@dataclass
class Account:
    """Of one stream. own: whether the messages are its producer's, or a subscriber's who was there all the time."""

    sound: Sound
    heard: list[Sent | Lost] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    own: list[Message] = field(default_factory=list)
    ended: bool = False
    finite: bool = True
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.sound.name

    @property
    def watched(self) -> bool:
        """Whether the probabilities of its frames are kept."""
        return zlib.crc32(self.name.encode()) // PIECES % WATCHED == 0

    @property
    def recent(self) -> str:
        """The last that was told, for people."""
        told = [
            f"{m.type} {getattr(m, 'frame', '')}{getattr(m, 'start', '')}" for m in self.messages if m.type != "event"
        ]
        return f"{self.heard[-3:]}, {', '.join(told[-8:])}"

    @property
    def frames(self) -> list[Frame]:
        return [message for message in self.messages if isinstance(message, Frame)]

    @property
    def gaps(self) -> list[Gap]:
        return [message for message in self.messages if isinstance(message, Gap)]

    def check(self) -> list[str]:
        """What is wrong, but for the frames' values."""
        found = [*self.problems, *self._strangers(), *self._order(), *self._windows(), *self._own()]
        if self.ended:
            found += self._end()
        return [f"{self.name}: {problem}" for problem in found]

    def unforeseen(self) -> list[Gap]:
        """Gaps that were told, and were not the producer's doing: sound that the server shed."""
        foreseen = self._foreseen()
        return [gap for gap in self.gaps if not any(_is(gap, *each) for each in foreseen)]

    def not_told(self) -> list[str]:
        """Losses of which no message told."""
        missing = [each for each in self._foreseen() if not any(_is(gap, *each) for gap in self.gaps)]
        return [
            f"{self.name}: a gap at {start:.3f} s of {lost.seconds:.3f} s was not told" for start, _, lost in missing
        ]

    @property
    def comparable(self) -> bool:
        """Whether its probabilities were kept, and it is known what the server heard."""
        return self.watched and self.finite and not self.unforeseen() and not self.not_told()

    def differs(self, tagger: Tagger) -> list[str]:
        """Frames that are not those of a single stream of the same sound."""
        if not self.comparable:
            return []
        frames = self.frames
        exact = all(part.slack_s <= ROUNDED_S for part in self.heard if isinstance(part, Lost))
        reference = self.reference(tagger)
        found = []
        for frame in frames:
            if frame.frame not in reference:
                found.append(f"{self.name}: frame {frame.frame} where there should be none")
                continue
            given = np.array([frame.tags[tag] for tag in tagger.tags])
            worst = float(np.abs(given - reference[frame.frame]).max())
            if worst > (SAME if exact else ALIKE):
                found.append(f"{self.name}: frame {frame.frame} is another's: {worst:.4f}")
        return found

    def reference(self, tagger: Tagger) -> dict[int, NDArray[np.float32]]:
        """Probabilities by frame, of one session that hears the same."""
        session, resampler = Session(tagger), Resampler(self.sound.format.rate)
        frames = []
        gaps = iter(self.gaps)
        for part in self.heard:
            if isinstance(part, Sent):
                data = self.sound.data(part.start, part.end)
                frames += session.feed(resampler.feed(self.sound.format.decode(data)))
            else:
                frames += session.insert_gap(
                    round((part.seconds if part.slack_s <= ROUNDED_S else next(gaps).lost_s) * RATE)
                )
        if self.ended:
            frames += session.feed(resampler.flush()) + session.flush()
        return {frame.index: frame.probs for frame in frames}

    # --- the checks ---------------------------------------------------------------------------------------------

    def _strangers(self) -> list[str]:
        streams = {getattr(message, "stream", None) for message in [*self.messages, *self.own]} - {None, self.name}
        kinds = {message.type for message in self.messages if not isinstance(message, Frame | Gap | Event | End)}
        return [f"a message of {stream}" for stream in streams] + [f"a message {kind!r}" for kind in kinds]

    def _order(self) -> list[str]:
        """Every frame between two that came was dropped, as is told, or had its centre in what was lost."""
        found, before = [], -1
        for frame in self.frames:
            if frame.frame <= before:
                found.append(f"frame {frame.frame} repeated after {before}")
            else:
                skipped = [n for n in range(before + 1, frame.frame) if not self._lost(n)]
                if len(skipped) != frame.dropped:
                    found.append(f"frames missing before {frame.frame}: {len(skipped)}, told {frame.dropped}")
            before = frame.frame
        return found

    def _windows(self) -> list[str]:
        return [
            f"frame {frame.frame} lies at {frame.start}"
            for frame in self.frames
            if abs(frame.start - HOP * (frame.frame - 1) / RATE) > ROUNDED_S
        ]

    def _own(self) -> list[str]:
        """What the producer itself was told is what the subscriber was told."""
        told = {frame.frame: frame for frame in self.frames}
        return [
            f"frame {frame.frame} is told in two ways"
            for frame in self.own
            if isinstance(frame, Frame) and frame.frame in told and frame.tags != told[frame.frame].tags
        ]

    def _end(self) -> list[str]:
        ends = [message for message in self.messages if isinstance(message, End)]
        if len(ends) != 1 or not isinstance(self.messages[-1], End):
            return [f"{len(ends)} ends, the last message is {self.messages[-1].type if self.messages else 'none'}"]
        found = []
        lost_s = sum(gap.lost_s for gap in self.unforeseen())
        seconds = sum(self._seconds(part) for part in self.heard)
        slack = 0.01 + sum(part.slack_s for part in self.heard if isinstance(part, Lost)) + lost_s
        if abs(ends[0].seconds - seconds) > slack:
            found.append(f"ended at {ends[0].seconds} s, not {seconds:.3f}")
        least, most = (-(-round((ends[0].seconds + rounded) * RATE) // HOP) for rounded in (-ROUNDED_S, ROUNDED_S))
        owed = [n for n in range(least) if not self._lost(n)]
        at_most = [n for n in range(most) if not self._lost(n, -ROUNDED_S)]
        came = {frame.frame for frame in self.frames}
        dropped = sum(frame.dropped for frame in self.frames)
        if len(missing := [n for n in owed if n not in came]) > dropped:
            found.append(f"frames missing at the end: {missing[:5]} of {len(owed)}")
        if not len(owed) <= ends[0].frames <= len(at_most):
            found.append(f"the end tells of {ends[0].frames} frames, not of {len(owed)}")
        return found

    def _lost(self, frame: int, slack_s: float = ROUNDED_S) -> bool:
        """Whether its centre lay in sound that was lost; slack_s: what counts as lost beside it."""
        centre = HOP * frame / RATE
        return any(gap.start - slack_s <= centre < gap.start + gap.lost_s + slack_s for gap in self.gaps)

    def _foreseen(self) -> list[tuple[float, float, Lost]]:
        """Losses that are expected: where, s, how well that is known, s, and which."""
        at, slack, found = 0.0, 0.05, []
        for part in self.heard:
            if isinstance(part, Lost):
                found.append((at, slack, part))
                slack += part.slack_s
            at += self._seconds(part)
        return found

    def _seconds(self, part: Sent | Lost) -> float:
        return part.seconds if isinstance(part, Lost) else (part.end - part.start) / self.sound.format.rate


def _is(gap: Gap, start: float, slack_s: float, lost: Lost) -> bool:
    return abs(gap.start - start) <= slack_s and abs(gap.lost_s - lost.seconds) <= lost.slack_s
