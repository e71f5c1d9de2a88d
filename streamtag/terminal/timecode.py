"""Times as people write them."""

from __future__ import annotations


def timecode(seconds: float) -> str:
    """`3:07`, from an hour on `1:02:03`. Rounded down, as a player's clock is; below 0 counts as 0."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"
