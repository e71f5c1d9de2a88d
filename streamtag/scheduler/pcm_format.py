"""Bare samples as they come over a network."""

from __future__ import annotations

from streamtag.audio.pcm import Pcm, Sample

__all__ = ["PcmFormat", "Sample"]


class PcmFormat(Pcm):
    """What a producer may send: no sound card goes further."""

    HIGHEST_RATE = 384_000
    MOST_CHANNELS = 8
