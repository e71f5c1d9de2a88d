"""Published scores on MagnaTagATune: 50 most frequent tags, folders 0-b / c / d-f, unless noted otherwise.

The paper's own systems are in `trainer.systems`.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = (
    "Song, Wang, Han, Ding, Iqbal: Music auto-tagging using deep Recurrent Neural Networks. Neurocomputing 292 (2018)"
)

FIGURES = {  # of the paper, with learning curves
    "Figure 5: 4 layers": tuple(
        f"Scat-4L-{size}H-{cell}" for size in (256, 512) for cell in ("LSTM", "BN-LSTM", "GRU")
    ),
    "Figure 6: GRUs of 512 units": tuple(f"Scat-{layers}L-512H-GRU" for layers in (4, 5, 6)),
    "Figure 7: inputs and networks": ("Scat-5L-512H-GRU", "Mel-5L-512H-GRU", "Scat-4L-CNN"),
}


@dataclass(frozen=True)
class Published:
    """One published score. `note` says what makes it hard to compare."""

    name: str
    roc_auc: float
    pr_auc: float | None
    source: str
    note: str = ""


FULL_SET = "trained or tested on the full set, not on the clips with a top-50 tag alone"

OTHERS = (
    Published(
        "SF-NFNet", 0.917, 0.413,
        "McCallum, Korzeniowski, Oramas, Gouyon, Ehmann: Supervised and Unsupervised Learning of Audio Representations"
        " for Music Understanding. ISMIR 2022", FULL_SET,
    ),
    Published("MULE", 0.914, 0.404, "the same", FULL_SET),
    Published(
        "Harmonic CNN", 0.914, 0.46,
        "Won, Chun, Nieto, Serra: Data-driven Harmonic Filters for Audio Representation Learning. ICASSP 2020",
        "0.913 to 0.916 in different reports",
    ),
    Published(
        "short-chunk CNN + Res", 0.913, 0.461,
        "Won, Ferraro, Bogdanov, Serra: Evaluation of CNN-based Automatic Music Tagging Models. SMC 2020",
    ),
    Published(
        "musicnn", 0.911, 0.451, "Pons, Serra: musicnn: Pre-trained convolutional neural networks for music audio"
        " tagging. ISMIR 2019, late-breaking",
    ),
    Published("Scat-5L-512H-GRU, the paper's best", 0.909, None, PAPER),
    Published(
        "multi-scale approach", 0.898, None,
        "Dieleman, Schrauwen: Multiscale approaches to music audio feature learning. ISMIR 2013",
    ),
    Published(
        "Mel-4L-CNN", 0.894, None,
        "Choi, Fazekas, Sandler: Automatic Tagging Using Deep Convolutional Neural Networks. ISMIR 2016",
    ),
    Published(
        "RBM and bag of features", 0.888, None,
        "Nam, Herrera, Lee: A Deep Bag-of-Features Model for Music Auto-Tagging. arXiv 1508.04999 (2015)",
    ),
    Published(
        "transfer learning", 0.88, None,
        "van den Oord, Dieleman, Schrauwen: Transfer learning by supervised pre-training for audio-based music"
        " classification. ISMIR 2014",
    ),
)  # fmt: skip

STREAMING = "Nobody has published scores by the seconds heard on this data set: there is nothing to set beside these."
