"""Why a stream is not let in, or not found."""

from __future__ import annotations

from streamtag.errors import CapacityError, StreamtagError


class Busy(CapacityError):  # noqa: N818  (no defect, an answer)
    """There is no room for one more stream now. retry_after_s: when it may be worth asking again, s."""

    def __init__(self, why: str, retry_after_s: float) -> None:
        super().__init__(f"busy: {why}")
        self.retry_after_s = retry_after_s


class NameTaken(StreamtagError):  # noqa: N818
    """A producer of that name is connected already."""


class UnknownStream(StreamtagError):  # noqa: N818
    """No stream of that name runs or waits for its producer."""
