"""The mathematics: pure steps on tensors, no clock, thread or print."""

from streamtag.model.batched import BatchedTagger
from streamtag.model.model_file import load_tagger, save_tagger
from streamtag.model.network import TaggerNetwork, TaggerState
from streamtag.model.normalization import Normalization
from streamtag.model.recurrent import StackedGRU
from streamtag.model.scattering import Scattering, ScatteringState
from streamtag.model.streaming import StreamingModule, gather_rows, where
from streamtag.spec import NetworkSpec, NormalizationSpec, ScatteringSpec

__all__ = [
    "BatchedTagger",
    "NetworkSpec",
    "Normalization",
    "NormalizationSpec",
    "Scattering",
    "ScatteringSpec",
    "ScatteringState",
    "StackedGRU",
    "StreamingModule",
    "TaggerNetwork",
    "TaggerState",
    "gather_rows",
    "load_tagger",
    "save_tagger",
    "where",
]
