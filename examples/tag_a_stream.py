"""Tags an endless stream as it comes: raw 32-bit floats, mono, 16 kHz, on standard input.

ffmpeg -i song.mp3 -f f32le -ac 1 -ar 16000 - | python examples/tag_a_stream.py [model.safetensors]
"""

import os
import sys

import numpy as np

import streamtag


def show(tags: tuple[str, ...], frames: list[streamtag.TagFrame]) -> None:
    for frame in frames:
        strongest = "  ".join(f"{tags[i]} {frame.probs[i]:.0%}" for i in np.argsort(-frame.probs)[:5])
        print(f"{frame.time:7.2f} s   {strongest}", flush=True)


def main() -> None:
    tagger = streamtag.load(*sys.argv[1:2])
    session = streamtag.Session(tagger)
    while data := sys.stdin.buffer.read(1600 * 4):  # a tenth of a second; any other size gives the same frames
        show(tagger.tags, session.feed(np.frombuffer(data[: len(data) // 4 * 4], "<f4")))
    show(tagger.tags, session.flush())


try:
    main()
except streamtag.StreamtagError as error:
    sys.exit(str(error))
except BrokenPipeError:  # `| head`: what is printed goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit("nobody reads standard output any more")
except KeyboardInterrupt:
    sys.exit(130)
