"""Tags an endless stream as it comes: raw 32-bit floats, mono, 16 kHz, on standard input.

ffmpeg -i song.mp3 -f f32le -ac 1 -ar 16000 - | python examples/tag_a_stream.py [model.safetensors]
"""

import sys

import numpy as np

import streamtag

tagger = streamtag.load(*sys.argv[1:2])
session = streamtag.Session(tagger)


def show(frames: list[streamtag.TagFrame]) -> None:
    for frame in frames:
        strongest = np.argsort(-frame.probs)[:5]
        print(
            f"{frame.time:7.2f} s  ",
            "  ".join(f"{tagger.tags[i]} {frame.probs[i]:.0%}" for i in strongest),
            flush=True,
        )


while data := sys.stdin.buffer.read(1600 * 4):  # a tenth of a second; any other size gives the same frames
    show(session.feed(np.frombuffer(data[: len(data) // 4 * 4], "<f4")))
show(session.flush())
