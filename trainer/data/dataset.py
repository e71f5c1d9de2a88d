"""A data set for training: a folder that describes itself.

MagnaTagATune is read as it is published (`download` fetches it):

    annotations_final.csv   clip_id, 188 tags, mp3_path; the 50 most frequent
                            tags are learned
    clip_info_final.csv     the artists
    0/ ... f/               the MP3s; folders 0-b train, c valid, d-f test

Any other data set has the trainer's own format:

    clips.csv     one line a clip. Needed columns: clip_id, split (train,
                  valid, test, or any other word). Used if there: kind (scores
                  are reported for each), artist (intervals are drawn by it),
                  mixed_artist (of another recording that is mixed in), path
                  (of the sound, relative to the folder). All others (source,
                  ...) are ignored.
    tags.txt      one tag a line, in the order of the model's outputs
    audio/        CLIP_ID.mp3 (or .wav .flac .ogg .opus .m4a), unless
                  clips.csv has path; any sample rate and channels
    targets.csv   hard targets: clip_id, and 0 or 1 in a column for each tag
    targets.npz   or soft targets: clip_id [n] (text), one or more float
                  arrays [n, tags] of probabilities (several teachers are
                  averaged), and, if they change over time, also arrays
                  NAME_windows [n, windows, tags] with the numbers window_s
                  and hop_s: window k describes the seconds k * hop_s to
                  k * hop_s + window_s of the clip
    facts.csv     optional: clip_id, true_tags, false_tags, each a list
                  joined with ";": what is known for certain about some
                  clips; corrects soft targets

No clip and no artist may be in two splits, except for clips of the kind
"rendered", whose artist has not performed them.
Numpy files are read without pickle.
"""

from __future__ import annotations

from pathlib import Path

from streamtag.errors import ManifestError
from trainer.data import clip_folder, magnatagatune
from trainer.data.manifest import Manifest


def read_dataset(root: Path) -> Manifest:
    """Read and check a folder in either format. Raises ManifestError naming the first thing that is wrong."""
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder")
    if (root / magnatagatune.ANNOTATIONS).exists():
        return magnatagatune.read(root)
    if not (root / "clips.csv").exists():
        raise ManifestError(f"{root}: no data set: neither {magnatagatune.ANNOTATIONS} nor clips.csv is in it")
    return clip_folder.read(root)
