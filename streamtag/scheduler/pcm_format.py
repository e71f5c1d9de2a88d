"""The format of a producer's samples: `streamtag.audio.pcm.PcmFormat` under its old address."""

from __future__ import annotations

from streamtag.audio.pcm import Encoding as Sample
from streamtag.audio.pcm import PcmFormat

__all__ = ["PcmFormat", "Sample"]
