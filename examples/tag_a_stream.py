"""Tag a continuous stream from standard input: raw 32-bit floats, mono, 16 kHz.

ffmpeg -i song.mp3 -f f32le -ac 1 -ar 16000 - | python examples/tag_a_stream.py
"""

import argparse
import os
import sys

import numpy as np

import streamtag


def show(concepts: list[str], frames: list[streamtag.TagFrame]) -> None:
    for frame in frames:
        top = "  ".join(f"{concepts[i]} {frame.concept_probs[i]:.2f}" for i in np.argsort(-frame.concept_probs)[:5])
        print(f"{frame.time:7.2f} s   {top}", flush=True)


def main(model: str | None) -> None:
    tagger = streamtag.load(model)
    concepts = [concept.name for concept in tagger.concepts]
    session = streamtag.Session(tagger)
    while data := sys.stdin.buffer.read(1600 * 4):  # 100 ms; any other size gives the same frames
        show(concepts, session.feed(np.frombuffer(data[: len(data) // 4 * 4], "<f4")))
    show(concepts, session.flush())


parser = argparse.ArgumentParser(description="Tag raw 32-bit floats, mono, 16 kHz, from standard input.")
parser.add_argument("model", nargs="?", help="default: the model that comes with streamtag")
args = parser.parse_args()
try:
    main(args.model)
except streamtag.StreamtagError as error:
    sys.exit(str(error))
except BrokenPipeError:  # the reader, such as `head`, has ended
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit("nobody reads standard output any more")
except KeyboardInterrupt:
    sys.exit(130)
