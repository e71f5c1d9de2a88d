"""What others reported on MagnaTagATune: 50 most frequent tags, folders 0-b / c / d-f, unless it is said otherwise."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = (
    "Song, Wang, Han, Ding, Iqbal: Music auto-tagging using deep Recurrent Neural Networks. Neurocomputing 292 (2018)"
)


@dataclass(frozen=True)
class Published:
    """One row of somebody's table. note: what makes it hard to compare."""

    name: str
    roc_auc: float
    pr_auc: float | None
    parameters: int | None
    source: str
    note: str = ""


def _row(name: str, roc_auc: float, thousands: int, note: str = "") -> Published:
    return Published(name, roc_auc, None, 1000 * thousands, "Table 2", note)


TRANSPOSED = "its count fits only 1,366 inputs: the spectrogram was fed transposed"
SMALLER = "its count fits only 256 hidden units and 906 inputs"

TABLE_2 = (
    _row("Scat-4L-256H-LSTM", 0.857, 2295),
    _row("Scat-4L-256H-BN-LSTM", 0.881, 2295),
    _row("Scat-4L-256H-GRU", 0.896, 1724),
    _row("Scat-4L-512H-LSTM", 0.892, 8260),
    _row("Scat-4L-512H-BN-LSTM", 0.849, 8260),
    _row("Scat-4L-512H-GRU", 0.903, 6202),
    _row("Scat-5L-512H-GRU", 0.909, 7776),
    _row("Scat-6L-512H-GRU", 0.902, 9350),
    _row("Mel-5L-512H-GRU", 0.794, 9209, TRANSPOSED),
    _row("Mel-5L-512H-LSTM", 0.773, 12270, TRANSPOSED),
    _row("CQT-5L-512H-GRU", 0.775, 2482, SMALLER),
    _row("CQT-5L-512H-LSTM", 0.765, 3306, SMALLER),
    _row("Scat-4L-CNN", 0.904, 17365),
)

FULL_SET = "trained or tested on the full set, not on the clips with a top-50 tag alone"

OTHERS = (
    Published(
        "SF-NFNet", 0.917, 0.413, None,
        "McCallum, Korzeniowski, Oramas, Gouyon, Ehmann: Supervised and Unsupervised Learning of Audio Representations"
        " for Music Understanding. ISMIR 2022", FULL_SET,
    ),
    Published("MULE", 0.914, 0.404, None, "the same", FULL_SET),
    Published(
        "Harmonic CNN", 0.914, 0.46, None,
        "Won, Chun, Nieto, Serra: Data-driven Harmonic Filters for Audio Representation Learning. ICASSP 2020",
        "0.913 to 0.916 in different reports",
    ),
    Published(
        "short-chunk CNN + Res", 0.913, 0.461, None,
        "Won, Ferraro, Bogdanov, Serra: Evaluation of CNN-based Automatic Music Tagging Models. SMC 2020",
    ),
    Published(
        "musicnn", 0.911, 0.451, None, "Pons, Serra: musicnn: Pre-trained convolutional neural networks for music audio"
        " tagging. ISMIR 2019, late-breaking",
    ),
    Published("Scat-5L-512H-GRU, the paper's best", 0.909, None, 7_776_000, PAPER),
    Published(
        "multi-scale approach", 0.898, None, None,
        "Dieleman, Schrauwen: Multiscale approaches to music audio feature learning. ISMIR 2013",
    ),
    Published(
        "Mel-4L-CNN", 0.894, None, None,
        "Choi, Fazekas, Sandler: Automatic Tagging Using Deep Convolutional Neural Networks. ISMIR 2016",
    ),
    Published(
        "RBM and bag of features", 0.888, None, None,
        "Nam, Herrera, Lee: A Deep Bag-of-Features Model for Music Auto-Tagging. arXiv 1508.04999 (2015)",
    ),
    Published(
        "transfer learning", 0.88, None, None,
        "van den Oord, Dieleman, Schrauwen: Transfer learning by supervised pre-training for audio-based music"
        " classification. ISMIR 2014",
    ),
)  # fmt: skip

STREAMING = "Nobody has published scores by the seconds heard on this data set: there is nothing to set beside these."


def of_system(name: str) -> Published | None:
    """The paper's row for a system by this name, or the reported one for a baseline."""
    rows = (*TABLE_2, *(row for row in OTHERS if row.name == "Mel-4L-CNN"))
    return next((row for row in rows if row.name == name), None)
