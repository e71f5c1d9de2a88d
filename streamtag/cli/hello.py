"""What a stream of messages begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamtag import __version__
from streamtag.protocol.messages import Hello

if TYPE_CHECKING:
    from streamtag.api import Tagger


def hello(tagger: Tagger, thresholds: Sequence[float]) -> Hello:
    """thresholds: one a tag, the model's or the user's."""
    spec = tagger.network.spec
    return Hello(
        server=f"streamtag {__version__}",
        model=str(tagger.card.get("name") or tagger.path.stem),
        tags=tuple(tagger.tags),
        sample_rate=spec.sample_rate,
        hop_s=spec.hop_s,
        window_s=spec.window_s,
        lookahead_s=spec.lookahead_s,
        thresholds=tuple(thresholds),
    )
