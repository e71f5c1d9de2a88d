"""A course over time in one line of characters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"  # the same eight heights for terminals and files that know no blocks


def sparkline(heights: NDArray[np.floating], full: float, characters: str = BLOCKS) -> str:
    """One character per height; `full` and above is the tallest."""
    steps = np.clip(heights / max(full, 1e-9) * len(characters), 0, len(characters) - 1).astype(int)
    return "".join(characters[step] for step in steps)


def characters_for(encoding: str | None) -> str:
    """Blocks where the encoding has them, else ASCII."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS
