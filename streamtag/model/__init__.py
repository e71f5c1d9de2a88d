"""The mathematics: pure steps on tensors without a clock, thread, socket or print.

Contains the front ends, the normalization, the recurrent layers, the whole network as one streaming module,
the batched form of it with the states of many streams, concepts of tags, and the model file. May import `errors`,
`spec` and `text`.
Start reading at `streaming` (the interface of all stages), then `network`; `batched` steps many streams.
"""

from streamtag.model.batched import BatchedTagger
from streamtag.model.concepts import ConceptMap
from streamtag.model.model_file import load_tagger, save_tagger
from streamtag.model.network import TaggerNetwork, TaggerState, make_front_end
from streamtag.model.normalization import Normalization, Standardization
from streamtag.model.recurrent import StackedGRU
from streamtag.model.scattering import Scattering, ScatteringState
from streamtag.model.streaming import StreamingModule, gather_rows, where
from streamtag.spec import ConceptSpec, CqtSpec, MelSpec, NetworkSpec, NormalizationSpec, ScatteringSpec

__all__ = [
    "BatchedTagger",
    "ConceptMap",
    "ConceptSpec",
    "CqtSpec",
    "MelSpec",
    "NetworkSpec",
    "Normalization",
    "NormalizationSpec",
    "Scattering",
    "ScatteringSpec",
    "ScatteringState",
    "StackedGRU",
    "Standardization",
    "StreamingModule",
    "TaggerNetwork",
    "TaggerState",
    "gather_rows",
    "load_tagger",
    "make_front_end",
    "save_tagger",
    "where",
]
