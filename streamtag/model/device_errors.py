"""What a GPU reports, in one line that a user understands.

A GPU that is out of memory may go on with less work. One that is lost (an illegal access, a hardware fault, a driver
that was reset) fails at everything from then on, often at a call that has nothing to do with the cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from streamtag.errors import DeviceError

# CUDA error, CUDA driver error, cuBLAS error, cuFFT error, cuDNN error
LIBRARY_ERROR = re.compile(r"cu\w+ (?:driver )?error\b", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=\.)\s|\n")


@contextmanager
def report_device_errors(purpose: str = "") -> Iterator[None]:
    """Turn an error of a GPU inside the block into a DeviceError of one line; every other error stays what it is.

    purpose: what the memory was needed for, if the block only allocates.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        what = f"not enough memory on the GPU{f' for {purpose}' if purpose else ''}"
        raise DeviceError(f"{what}: {_sentences(error, 2)}") from error
    except RuntimeError as error:
        if not LIBRARY_ERROR.match(str(error)):
            raise  # a defect of ours
        raise DeviceError(f"the GPU failed: {_sentences(error, 1)}") from error


def _sentences(error: Exception, count: int) -> str:
    """Return the first sentences of a message, which goes on with advice for programmers."""
    return " ".join(SENTENCE_END.split(str(error).strip())[:count]).removesuffix(".")
