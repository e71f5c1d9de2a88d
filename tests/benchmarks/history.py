"""What a history costs: bytes of file and CPU time, for the tags and events of real music.

`python -m tests.benchmarks.history FOLDER [--hours 24] [--streams 16] [--files 40] [--song 240]` tags files of the
folder once. Then each stream plays them in random order, each repeated for as long as a song, with clocks that are set
forward: one commit for each second of theirs. Only the recorder's own work is counted: values of frames, rows, and the
database.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from streamtag.api import Tagger, load
from streamtag.audio.files import find_files
from streamtag.cli.runtime import hello
from streamtag.history.recorder import Recorder
from streamtag.inference.events import EventDetector
from streamtag.protocol.messages import Event, Frame, Hello, Message

DAY_S = 86_400
START_AT = 1_700_000_000.0
MESSAGES_PER_LOOK = 1000


def lengthen(song: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Repeat the rows [F, P] of a song until it has about this many frames, or leave it alone."""
    return np.tile(song, (max(1, round(frames / len(song))), 1))


def play(
    name: str, songs: list[NDArray[np.float32]], greeting: Hello, random: Random
) -> Iterator[tuple[float, Message]]:
    """Yield the messages of an endless stream with their times [s]. songs: [F, tags + concepts] each."""
    names = [concept.name for concept in greeting.concepts]
    detector = EventDetector(names, [concept.threshold for concept in greeting.concepts])
    first_s, half_s, count, number = random.random(), greeting.window_s / 2, len(greeting.tags), 0
    while True:
        for row in random.choice(songs):
            at, values = number * greeting.hop_s, row.tolist()
            tags, concepts = (
                dict(zip(greeting.tags, values, strict=False)),
                dict(zip(names, values[count:], strict=True)),
            )
            yield first_s + at, Frame(name, number, at - half_s, at + half_s, tags, concepts=concepts)
            for event in detector.update(row[count:], at):
                yield first_s + at, Event(name, *event, concept=event.tag)
            number += 1


def written_bytes() -> int:
    """Return how many bytes this process has written."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def record(path: Path, songs: list[NDArray[np.float32]], tagger: Tagger, streams: int, hours: float) -> None:
    now, cpu_s, events = 0.0, 0.0, 0
    greeting = hello(tagger)
    recorder = Recorder(path, print, clock=lambda: START_AT + now, timer=lambda: now)
    recorder.write(greeting)
    written = written_bytes()
    played = heapq.merge(
        *(play(f"radio {number}", songs, greeting, Random(number)) for number in range(streams)),
        key=lambda each: each[0],
    )
    # many messages between two looks at the CPU clock, which is slow on some systems
    while now < hours * 3600 and (batch := list(islice(played, MESSAGES_PER_LOOK))):
        events += sum(isinstance(message, Event) for _, message in batch)
        began = time.process_time()
        for now, message in batch:  # noqa: B007 - the recorder's clock
            recorder.write(message)
            recorder.poll()
        cpu_s += time.process_time() - began
    written = written_bytes() - written
    recorder.close()
    share = streams * hours / 24
    print(f"{streams} streams, {hours:g} hours, {events / streams / hours:.0f} events per stream and hour")
    print(f"file: {path.stat().st_size / share / 1e6:.2f} MB per stream and day")
    print(f"CPU: {100 * cpu_s / (hours * 3600):.2f} % of a core for all streams")
    print(f"written, with the log: {written / (hours * 3600) / 1e3:.1f} kB per second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--song", type=float, default=240, help="seconds")
    given = parser.parse_args()
    tagger = load()
    paths = list(find_files([given.folder]))
    Random(0).shuffle(paths)
    songs = []
    for path in paths[: given.files]:
        result = tagger.tag(path)
        probs = np.concatenate((result.probs, result.concept_probs), axis=1)
        songs.append(lengthen(probs, round(given.song / tagger.network.spec.hop_s)))
    print(f"{len(songs)} files, {sum(map(len, songs)) * 0.256 / len(songs):.0f} s each", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder, "history.sqlite"), songs, tagger, given.streams, given.hours)


if __name__ == "__main__":
    main()
