"""The systems by name: Table 2 of the paper, its baseline, and spectrogram systems of the conventional form.

The printed counts are in thousands and truncated, not rounded (except 6202K, which is 6,201,906). They decide how to
read rows that the text leaves open: both CQT rows need 907 inputs, half of the 1813 frames of a clip, and 256 units;
both Mel rows need 1366 inputs, the frames of a clip in Choi 2016. So the spectrograms were fed on their side.
"""

from __future__ import annotations

from dataclasses import replace

from streamtag.errors import SpecError
from streamtag.spec import ConvolutionalSpec, NetworkSpec, StackSpec, TransposedSpec
from trainer.systems.system import Published, System, from_name, recurrent_name

CHANNELS = (128, 384, 768, 2048)  # Table 1, and FCN-4
SCATTERING_BLOCKS = ((2, 3), (3, 6), (4, 6), (4, 4))  # Table 1
MEL_BLOCKS = ((2, 4), (4, 5), (3, 8), (4, 8))  # FCN-4 of Choi 2016

ON_ITS_SIDE = "fed on its side, as the count implies: a step is a band, its inputs are the frames of the clip"
CONVENTIONAL = "as anyone would: a step is a frame; not in the paper"


def _table_2(system: System, parameters_k: int, roc_auc: float, note: str = "") -> System:
    return replace(system, published=Published(parameters_k, roc_auc, "Song 2018, Table 2"), note=note)


def _transposed(name: str, inputs: int, hidden: int, parameters_k: int, roc_auc: float, note: str) -> System:
    system = replace(from_name(f"{name}-by-time"), name=name, inputs=inputs, hidden=hidden, family="transposed")
    return _table_2(system, parameters_k, roc_auc, note)


HALF = f"{ON_ITS_SIDE} (two averaged to one), and 256 units, not the 512 of its name"

_ROWS = (
    _table_2(from_name("Scat-4L-256H-LSTM"), 2295, 0.857),
    _table_2(from_name("Scat-4L-256H-BN-LSTM"), 2295, 0.881),
    _table_2(from_name("Scat-4L-256H-GRU"), 1724, 0.896),
    _table_2(from_name("Scat-4L-512H-LSTM"), 8260, 0.892),
    _table_2(from_name("Scat-4L-512H-BN-LSTM"), 8260, 0.849),
    _table_2(from_name("Scat-4L-512H-GRU"), 6202, 0.903),
    _table_2(from_name("Scat-5L-512H-GRU"), 7776, 0.909, "the proposed one"),
    _table_2(from_name("Scat-6L-512H-GRU"), 9350, 0.902),
    _transposed("Mel-5L-512H-GRU", 1366, 512, 9209, 0.794, ON_ITS_SIDE),
    _transposed("Mel-5L-512H-LSTM", 1366, 512, 12270, 0.773, ON_ITS_SIDE),
    _transposed("CQT-5L-512H-GRU", 907, 256, 2482, 0.775, HALF),
    _transposed("CQT-5L-512H-LSTM", 907, 256, 3306, 0.765, HALF),
    _table_2(
        System("Scat-4L-CNN", "scattering", 433, "convolutional", 4, 2048, "CNN", CHANNELS, SCATTERING_BLOCKS, 2),
        17365, 0.904,
        "Table 1, with batch normalisation, which the count implies",
    ),
    System(
        "Mel-4L-CNN", "mel", 96, "convolutional", 4, 2048, "CNN", CHANNELS, MEL_BLOCKS, 3,
        Published(None, 0.894, "Choi 2016"),
        "FCN-4, the baseline of Table 3; at 16 kHz here, 12 kHz there",
    ),
    *(
        replace(from_name(f"{front}-5L-512H-{cell}-by-time"), note=CONVENTIONAL)
        for front in ("Mel", "CQT")
        for cell in ("GRU", "LSTM")
    ),
)  # fmt: skip

SYSTEMS: dict[str, System] = {system.name: system for system in _ROWS}
TABLE_2 = tuple(name for name, row in SYSTEMS.items() if row.published and "Table 2" in row.published.source)


def name_of(front: str, spec: StackSpec) -> str:
    """Return the name of the system whose model files have this front end and network. Raises SpecError."""
    if isinstance(spec, NetworkSpec):
        return recurrent_name(front, spec.layers, spec.hidden, spec.cell)
    for system in SYSTEMS.values():
        if isinstance(spec, ConvolutionalSpec):
            is_same = (system.channels, system.blocks) == (spec.channels, spec.blocks)
        else:
            assert isinstance(spec, TransposedSpec)
            sizes = spec.layers, spec.hidden, spec.cell, spec.steps
            is_same = not system.reads_frames and (system.layers, system.hidden, system.cell, system.inputs) == sizes
        if is_same and system.front == front:
            return system.name
    raise SpecError("no system of the trainer has its network")


def named(name: str) -> System:
    """Return a system of the table, or one of another size (see `from_name`). Raises SpecError."""
    return SYSTEMS.get(name) or from_name(name)
