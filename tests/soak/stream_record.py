"""What one stream was sent and which messages it got, and whether the two agree."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import Resampler
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Event, Frame, Gap, Message
from streamtag.scheduler.load import music

HOP, RATE = 4096, 16000
EXCERPTS, EXCERPT_S = 6, 8.0
ROUNDING_S = 0.002  # times in messages have three decimals
CLOCK_TOLERANCE_S = 0.7  # between two clocks that measure the length of an absence
EXACT_TOLERANCE, GAP_TOLERANCE = 1e-3, 0.05  # of probabilities; the second where a gap's length is measured by clocks
ROUNDED_SAMPLES = 8  # by which such a length may differ from the one in the message, which is in whole milliseconds


@cache
def excerpts() -> list[NDArray[np.float32]]:
    """Return the music that all streams are made of."""
    return [music(EXCERPT_S, seed=number) for number in range(EXCERPTS)]


@dataclass(frozen=True)
class Signal:
    """A stream's own audio: an excerpt from its own offset on, and a tone of its own pitch."""

    name: str
    format: PcmFormat

    def pcm(self, start: int, end: int) -> bytes:
        """Return the samples from start to end as they are sent."""
        seed, n = zlib.crc32(self.name.encode()), np.arange(start, end)
        excerpt = excerpts()[seed % EXCERPTS]
        tone = np.sin(2 * np.pi * (150.0 + 13.0 * (seed % 211)) * n / RATE)
        mono = 0.6 * excerpt[(n + seed % 99991) % len(excerpt)] + 0.15 * tone
        channels = [mono * (1 + 0.3 * (-1) ** channel) for channel in range(self.format.channels)]
        samples: NDArray[np.float64] = np.stack(channels, axis=1)
        if self.format.encoding == "f32le":
            return samples.astype("<f4").tobytes()
        return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


@dataclass(frozen=True)
class SentAudio:
    """Samples of the signal from start to end, which the server received as the next of the stream."""

    start: int
    end: int


@dataclass(frozen=True)
class LostAudio:
    """Audio that the server never received. tolerance_s: of the length that it reports."""

    seconds: float
    tolerance_s: float = ROUNDING_S


@dataclass
class StreamRecord:
    """Everything about one stream.

    fed: what the server received, in order; messages: those of a subscriber that was there all the time, or else of
    the producer; producer_messages: the producer's beside a subscriber's.
    """

    signal: Signal
    fed: list[SentAudio | LostAudio] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    producer_messages: list[Message] = field(default_factory=list)
    has_ended: bool = False
    is_finite: bool = True
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.signal.name

    @property
    def frames(self) -> list[Frame]:
        return [message for message in self.messages if isinstance(message, Frame)]

    @property
    def gaps(self) -> list[Gap]:
        return [message for message in self.messages if isinstance(message, Gap)]

    @property
    def is_comparable(self) -> bool:
        """True if it is known what the server received."""
        return self.is_finite and not self.unexpected_gaps() and not self.missing_gaps()

    def check(self) -> list[str]:
        """Return what is wrong with the messages, except for probabilities and gaps."""
        found = [*self.problems, *self._check_names(), *self._check_frames(), *self._check_producer()]
        if self.has_ended:
            found += self._check_end()
        return [f"{self.name}: {problem}" for problem in found]

    def unexpected_gaps(self) -> list[Gap]:
        """Return the gaps that the producer did not cause: audio that the server shed."""
        expected = self._expected_gaps()
        return [gap for gap in self.gaps if not any(_matches(gap, *each) for each in expected)]

    def missing_gaps(self) -> list[str]:
        """Return the losses that no message reported."""
        missing = [each for each in self._expected_gaps() if not any(_matches(gap, *each) for gap in self.gaps)]
        return [f"{self.name}: no gap at {at:.3f} s of {lost.seconds:.3f} s" for at, _, lost in missing]

    def wrong_frames(self, tagger: Tagger) -> list[str]:
        """Return the frames that differ from those of a single session with the same audio.

        A gap that clocks measured is known to a millisecond only. A shift of half of one can change a single frame by
        more than GAP_TOLERANCE, so a frame may differ by twice what such a shift changes in the session's own frame.
        """
        expected, found = self._reference(tagger), []
        tolerances = dict.fromkeys(expected, EXACT_TOLERANCE)
        if any(part.tolerance_s > ROUNDING_S for part in self.fed if isinstance(part, LostAudio)):
            tolerances = dict.fromkeys(expected, GAP_TOLERANCE)
            for samples in (-ROUNDED_SAMPLES, ROUNDED_SAMPLES):
                for number, probs in self._reference(tagger, samples).items():
                    if number in expected:
                        change = float(np.abs(probs - expected[number]).max())
                        tolerances[number] = max(tolerances[number], 2 * change)
        for frame in self.frames:
            if frame.frame not in expected:
                found.append(f"{self.name}: frame {frame.frame} does not exist")
                continue
            probs = np.array([frame.tags[tag] for tag in tagger.tags])
            error = float(np.abs(probs - expected[frame.frame]).max())
            if error > tolerances[frame.frame]:
                found.append(f"{self.name}: frame {frame.frame} has other probabilities: {error:.4f}")
        return found

    def _reference(self, tagger: Tagger, samples: int = 0) -> dict[int, NDArray[np.float32]]:
        """samples: by which gaps that clocks measured are longer."""
        session, resampler = Session(tagger), Resampler(self.signal.format.rate)
        frames, gaps = [], iter(self.gaps)
        for part in self.fed:
            if isinstance(part, SentAudio):
                pcm = self.signal.pcm(part.start, part.end)
                frames += session.feed(resampler.feed(self.signal.format.decode(pcm)))
            else:
                is_exact = part.tolerance_s <= ROUNDING_S
                length = round(part.seconds * RATE) if is_exact else round(next(gaps).lost_s * RATE) + samples
                frames += session.insert_gap(length)
        if self.has_ended:
            frames += session.feed(resampler.flush()) + session.flush()
        return {frame.index: frame.probs for frame in frames}

    def _check_names(self) -> list[str]:
        received = [*self.messages, *self.producer_messages]
        names = {getattr(message, "stream", None) for message in received} - {None, self.name}
        types = {message.type for message in self.messages if not isinstance(message, Frame | Gap | Event | End)}
        return [f"a message of {name}" for name in names] + [f"a message {type!r}" for type in types]

    def _check_frames(self) -> list[str]:
        """Check that each frame between two others was dropped and counted, or had its centre in a gap."""
        found, last = [], -1
        for frame in self.frames:
            if frame.frame <= last:
                found.append(f"frame {frame.frame} repeated after {last}")
            else:
                skipped = [n for n in range(last + 1, frame.frame) if not self._is_in_gap(n)]
                if len(skipped) != frame.dropped:
                    found.append(f"frames missing before {frame.frame}: {len(skipped)}, reported {frame.dropped}")
            if abs(frame.start - HOP * (frame.frame - 1) / RATE) > ROUNDING_S:
                found.append(f"frame {frame.frame} starts at {frame.start}")
            last = frame.frame
        return found

    def _check_producer(self) -> list[str]:
        tags = {frame.frame: frame.tags for frame in self.frames}
        frames = (frame for frame in self.producer_messages if isinstance(frame, Frame))
        return [f"frame {f.frame} differs for its producer" for f in frames if f.tags != tags.get(f.frame, f.tags)]

    def _check_end(self) -> list[str]:
        ends = [message for message in self.messages if isinstance(message, End)]
        if len(ends) != 1 or not isinstance(self.messages[-1], End):
            return [f"{len(ends)} ends, the last message is {self.messages[-1].type if self.messages else 'none'}"]
        (end,), found = ends, []
        seconds, shed_s = sum(map(self._seconds, self.fed)), sum(gap.lost_s for gap in self.unexpected_gaps())
        tolerance_s = 0.01 + sum(part.tolerance_s for part in self.fed if isinstance(part, LostAudio)) + shed_s
        if abs(end.seconds - seconds) > tolerance_s:
            found.append(f"ended at {end.seconds} s, not {seconds:.3f}")
        fewest, most = (-(-round((end.seconds + rounding) * RATE) // HOP) for rounding in (-ROUNDING_S, ROUNDING_S))
        expected = [n for n in range(fewest) if not self._is_in_gap(n)]
        possible = [n for n in range(most) if not self._is_in_gap(n, -ROUNDING_S)]
        missing = set(expected) - {frame.frame for frame in self.frames}
        if len(missing) > sum(frame.dropped for frame in self.frames):
            found.append(f"frames missing at the end: {sorted(missing)[:5]} of {len(expected)}")
        if not len(expected) <= end.frames <= len(possible):
            found.append(f"the end reports {end.frames} frames, not {len(expected)}")
        return found

    def _is_in_gap(self, frame: int, tolerance_s: float = ROUNDING_S) -> bool:
        centre = HOP * frame / RATE
        return any(gap.start - tolerance_s <= centre < gap.start + gap.lost_s + tolerance_s for gap in self.gaps)

    def _expected_gaps(self) -> list[tuple[float, float, LostAudio]]:
        """Return each loss with its place in the stream and the tolerance of that place, in seconds."""
        at, tolerance_s, found = 0.0, 0.05, []
        for part in self.fed:
            if isinstance(part, LostAudio):
                found.append((at, tolerance_s, part))
                tolerance_s += part.tolerance_s
            at += self._seconds(part)
        return found

    def _seconds(self, part: SentAudio | LostAudio) -> float:
        return part.seconds if isinstance(part, LostAudio) else (part.end - part.start) / self.signal.format.rate


def _matches(gap: Gap, start: float, tolerance_s: float, lost: LostAudio) -> bool:
    return abs(gap.start - start) <= tolerance_s and abs(gap.lost_s - lost.seconds) <= lost.tolerance_s
