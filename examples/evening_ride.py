"""The score of Evening Ride, a song of 73 s whose sections carry different tags.

    0 s    classical guitar alone         D minor over a falling bass, six plucked eighths a bar
    13 s   strings, then a choir          a slow chorale in four parts, ending on the dominant
    27 s   techno                         four on the floor, synth bass, a pad that ducks under the kick
    42 s   rock                           two distorted guitars, bass and drums, a lead guitar on top
    57 s   harpsichord, then a flute      the guitar's harmony again, slowing down into D major

`compose(seed)` returns all notes; the seed varies their timing and velocity. make_song.py renders them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, product


@dataclass(frozen=True)
class Part:
    """An instrument: MIDI channel (0-15; 9 is percussion), General MIDI program from 0, and its place in the mix."""

    channel: int
    program: int
    volume: int
    pan: int = 64
    reverb: int = 40


PARTS = {
    "guitar": Part(0, 24, 127, 60, 60),
    "strings": Part(1, 48, 122, 64, 80),
    "violin": Part(2, 40, 112, 50, 80),
    "choir": Part(3, 52, 127, 70, 90),
    "synth bass": Part(4, 38, 92, 64, 0),
    "arpeggio": Part(5, 81, 62, 76, 50),
    "pad": Part(6, 50, 66, 64, 70),
    "left": Part(7, 30, 100, 18, 20),
    "right": Part(8, 29, 104, 110, 20),
    "808": Part(9, 25, 98, 64, 10),
    "drums": Part(9, 16, 127, 64, 25),
    "lead": Part(10, 30, 118, 64, 60),
    "bass": Part(11, 34, 124, 64, 0),
    "harpsichord": Part(12, 6, 120, 56, 60),
    "flute": Part(13, 73, 127, 74, 75),
}


@dataclass(frozen=True)
class Note:
    """A note of a part. start, seconds: in seconds; pitch: MIDI key, 60 is C4; velocity: 1-127."""

    part: str
    start: float
    seconds: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Swell:
    """A change of a part's expression (MIDI controller 11, 0-127) at `start` seconds."""

    part: str
    start: float
    level: int


Event = Note | Swell


def pitch(name: str) -> int:
    """Return the MIDI key of a name: `C4` is 60; sharps are `#`, flats `b`."""
    steps = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    return steps[name[0]] + name.count("#") - name[1:].count("b") + 12 * (int(name[-1]) + 1)


def chords(text: str) -> list[list[int]]:
    return [[pitch(name) for name in bar.split()] for bar in text.split("|")]


def melody(part: str, text: str, unit: float, velocity: int) -> Iterator[Note]:
    """Yield consecutive notes, written `name:length` with lengths in units of `unit` seconds. Bar lines are ignored."""
    now = 0.0
    for word in text.replace("|", " ").split():
        name, length = word.split(":")
        seconds = float(length) * unit
        yield Note(part, now, seconds * 0.97, pitch(name), velocity)
        now += seconds


# A bar: bass, an inner note, then twice a middle note and one of the tune. The bass falls step by step, the
# tune in tenths above it from the second bar on; the fourth over the dominant resolves to its third.
HARMONY = chords(
    "D3 A3 F4 A4 F4 D5 | C3 C4 G4 E5 G4 C5 | Bb2 F3 D4 D5 F4 Bb4 | A2 F3 F4 C5 F4 A4 |"
    "G2 G3 D4 Bb4 D4 G4 | F2 A3 D4 A4 D4 F4 | A2 A3 D4 G4 C#4 E4 | D3 A3 D4 F4 A3 D4"
)


def guitar() -> Iterator[Event]:
    eighth = 0.28
    for bar, (bass, low, mid, first, answer, second) in enumerate(HARMONY):
        loud = 80 + 4 * min(bar, 7 - bar)
        keys = [(0, bass, 4), (0, first, 12), (1, mid, -12), (2, low, -10), (3, second, 8), (4, answer, -12)]
        for step, key, accent in [*keys, (5, low, -14)]:
            yield Note("guitar", (6 * bar + step) * eighth, (6 - step) * eighth, key, loud + accent)


def strings() -> Iterator[Event]:
    beat = 1.7
    chorale = chords(
        "Bb2 Bb3 F4 D5 F5 | A2 C4 F4 C5 A4 | G2 D4 G4 Bb4 C5 | F2 D4 A4 D5 F5 |"
        "G2 Bb3 G4 Eb5 Eb5 | A2 A3 F4 D5 F5 | A2 A3 E4 D5 D5 | A2 G3 E4 C#5 C#5"
    )
    for index, (*lower, first, second) in enumerate(chorale):
        start, half, sung = index * beat, beat / 2, index >= 4
        for key in lower:
            yield Note("strings", start, beat, key, 54 if sung else 84)
        whole = [(0.0, first, beat)]
        for delay, key, seconds in whole if first == second else [(0.0, first, half), (half, second, half)]:
            yield Note("strings", start + delay, seconds, key, 57 if sung else 88)
            yield Note("violin", start + delay, seconds, key, 68 if sung else 106)
        for key in (*lower[1:], first) if sung else ():  # with softer strings
            yield Note("choir", start, beat, key, 96)
        for part in ("strings", "violin", "choir"):
            for step in range(8):  # each chord swells a little inside one long crescendo
                level = 88 + 3 * index + 3 * min(step, 8 - step)
                yield Swell(part, start + step * beat / 8, min(level, 127))


def beats(part: str, pattern: dict[int, str], start: float, step: float) -> Iterator[Note]:
    """Yield drum hits from patterns with one letter per sixteenth: `x` a hit, `o` a soft one, `.` none."""
    for key, letters in pattern.items():
        for index, letter in enumerate(letters):
            if letter != ".":
                yield Note(part, start + index * step, step * 4, key, 116 if letter == "x" else 76)


KICK, SNARE, CLAP, CLOSED, OPEN, CRASH = 36, 38, 39, 42, 46, 49
BAR = 60 / 128 * 4  # seconds, of the techno and the rock section


def techno() -> Iterator[Event]:
    step = BAR / 16
    harmony = chords("D2 D4 F4 A4 | Bb1 D4 F4 Bb4 | F2 C4 F4 A4 | C2 C4 E4 G4") * 2
    for bar, (root, *triad) in enumerate(harmony):
        start = bar * BAR
        drums = {KICK: "x...x...x...x...", CLOSED: "o.o.o.o.o.o.o.o.", OPEN: "..x...x...x...x."}
        if bar >= 2:
            drums[CLAP] = "....x.......x..." if bar < 7 else "....x...x.x.xxxx"
        yield from beats("808", drums, start, step)
        ladder = [key + 12 for key in triad] + [triad[0] + 24]
        for index, rung in enumerate((0, 2, 1, 3, 2, 1, 0, 2) * 2):
            now, quarter = start + index * step, index % 4
            yield Note("arpeggio", now, step * 0.8, ladder[rung], 84 if quarter else 104)
            if quarter:
                yield Note("synth bass", now, step * 0.85, root + (12 if quarter == 2 else 0), 100)
        for key in triad:
            yield Note("pad", start, BAR * 0.99, key, 88)
        for sixteenth in range(16):  # the pad ducks under the kick
            yield Swell("pad", start + sixteenth * step, (40, 76, 104, 120)[sixteenth % 4])


def rock() -> Iterator[Event]:
    step = BAR / 16
    roots = [bar[0] for bar in chords("D2 | Bb1 | F2 | C2 | D2 | Bb1 | G1 | A1")]
    for bar, root in enumerate(roots):
        start = bar * BAR
        drums = {KICK: "x.....x.x.x.....", SNARE: "....x.......x...", CLOSED: "x.o.x.o.x.o.x.o."}
        if bar in (0, 4):
            drums[CRASH] = "x"
        if bar in (3, 7):
            drums |= {SNARE: "....x...x.oxx.xx", 47: ".........x..", 45: "...........x.x.."}
        yield from beats("drums", drums, start, step)
        for index, length in ((0, 3), (3, 3), (6, 2), (8, 3), (11, 3), (14, 2)):
            velocity = 108 if index in (0, 8) else 94
            for side, interval in product(("left", "right"), (12, 19, 24)):  # a power chord has no third
                yield Note(side, start + index * step, length * step * 0.92, root + interval, velocity)
        for index in range(0, 16, 2):
            yield Note("bass", start + index * step, step * 1.8, root, 104)
    tune = (
        "A4:1.5 D5:1.5 F5:1 | F5:1.5 D5:1.5 Bb4:1 | C5:1.5 A4:1.5 C5:1 | E5:2 D5:1 C5:1 |"
        "D5:1.5 F5:1.5 A5:1 | Bb5:1.5 A5:.5 F5:1 D5:1 | G5:1.5 Bb5:1.5 G5:1 | E5:1 C#5:1 A4:1 C#5:.5 E5:.5"
    )
    yield from melody("lead", tune, BAR / 4, 108)


def outro() -> Iterator[Event]:
    bars = list(accumulate([1.68] * 5 + [1.85, 2.2], initial=0.0))  # a ritardando, then the last chord
    tune = ["", "", "", "", "Bb5:2 A5:1 G5:3", "A5:2 G5:1 F5:3", "G5:2 F5:1 E5:3"]  # of the flute
    for chord, line, (start, end) in zip(HARMONY, tune, pairwise(bars), strict=False):
        bass, low, mid, first, answer, second = chord
        turn: tuple[int, ...] = (bass, low, mid, first, mid, low, bass + 12, low, answer, second, answer, low)
        if line:  # eighths, not sixteenths, below the flute
            turn = (bass, mid, low, bass + 12, answer, low)
        step = (end - start) / len(turn)
        for index, key in enumerate(turn):
            velocity = 108 if index % 6 == 0 and not line else 96
            yield Note("harpsichord", start + index * step, step * 1.6, key, velocity)
        for note in melody("flute", line, (end - start) / 6, 104):
            yield replace(note, start=start + note.start)
    for index, key in enumerate(chords("D2 A2 D3 F#3 A3 D4 F#4")[0]):
        yield Note("harpsichord", bars[-1] + 0.07 * index, 2.6 - 0.07 * index, key, 100)
    yield Note("flute", bars[-1], 2.5, pitch("D5"), 92)


@dataclass(frozen=True)
class Section:
    """A section of the song: its notes start and end inside it, only the reverb continues."""

    name: str
    start: float
    end: float
    play: Callable[[], Iterator[Event]]


SECTIONS = (
    Section("guitar", 0.0, 13.5, guitar),
    Section("strings", 13.5, 27.1, strings),
    Section("techno", 27.1, 42.1, techno),
    Section("rock", 42.1, 57.1, rock),
    Section("outro", 57.1, 72.2, outro),
)


def compose(seed: int = 0) -> list[Event]:
    """Return the whole song in order of time, with humanised timing and velocity; equal for equal seeds."""
    rng = random.Random(seed)
    score: list[Event] = []
    for section in SECTIONS:
        for event in section.play():
            start = section.start + event.start
            if isinstance(event, Swell):
                score.append(replace(event, start=start))
                continue
            spread = 0.002 if section.play is techno else 0.008  # drum machines are exact
            start = min(max(start + rng.gauss(0.0, spread), section.start), section.end - 0.05)
            seconds = min(event.seconds, section.end - start)
            velocity = min(max(round(event.velocity + rng.gauss(0.0, 4.0)), 1), 127)
            score.append(replace(event, start=start, seconds=seconds, velocity=velocity))
    return sorted(score, key=lambda event: event.start)
