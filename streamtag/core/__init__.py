"""The mathematics: pure steps on tensors, no clock, thread or print."""

from streamtag.core.gru import StackedGRU
from streamtag.core.hop_step import HopStep
from streamtag.core.model_file import load_tagger, save_tagger
from streamtag.core.normalization import Normalization
from streamtag.core.scattering import Scattering, ScatteringState
from streamtag.core.stage import Stage, choose, take
from streamtag.core.tagger import Tagger, TaggerState
from streamtag.spec import NetworkSpec, NormalizationSpec, ScatteringSpec

__all__ = [
    "HopStep",
    "NetworkSpec",
    "Normalization",
    "NormalizationSpec",
    "Scattering",
    "ScatteringSpec",
    "ScatteringState",
    "StackedGRU",
    "Stage",
    "Tagger",
    "TaggerState",
    "choose",
    "load_tagger",
    "save_tagger",
    "take",
]
