"""Tag an audio file, a video or a URL: python examples/tag_a_file.py song.mp3"""

import argparse
import sys

import streamtag

parser = argparse.ArgumentParser(description="Tag an audio file, a video or a URL.")
parser.add_argument("source", metavar="song.mp3")
parser.add_argument(
    "model", nargs="?", metavar="model.safetensors", help="default: the model that comes with streamtag"
)
args = parser.parse_args()

try:
    tagger = streamtag.load(args.model)
    result = tagger.tag(args.source)
except streamtag.StreamtagError as error:
    sys.exit(str(error))

print(f"{result.seconds:.1f} s, {len(result.times)} frames")
for name, mean in sorted(result.concept_summary.items(), key=lambda item: item[1], reverse=True)[:10]:
    curve = result.concept_probs[:, result.concepts.index(name)]
    print(f"{name:15} {mean:.2f}   strongest at {result.times[curve.argmax()]:6.1f} s ({curve.max():.2f})")
