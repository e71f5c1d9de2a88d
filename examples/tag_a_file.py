"""Tags a sound file, a video or a web address: python examples/tag_a_file.py song.mp3 [model.safetensors]"""

import sys

import streamtag

if not 2 <= len(sys.argv) <= 3:
    sys.exit("usage: tag_a_file.py song.mp3 [model.safetensors]")
try:
    tagger = streamtag.load(*sys.argv[2:3])
    result = tagger.tag(sys.argv[1])
except streamtag.StreamtagError as error:
    sys.exit(str(error))

print(f"{result.seconds:.1f} s, {len(result.times)} frames")
for tag, mean in sorted(result.summary.items(), key=lambda item: item[1], reverse=True)[:10]:
    curve = result.probs[:, result.tags.index(tag)]
    print(f"{tag:15} {mean:6.1%}   strongest at {result.times[curve.argmax()]:6.1f} s ({curve.max():.1%})")
