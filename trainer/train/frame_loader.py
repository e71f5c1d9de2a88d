"""Loading frames of a dataset onto a device.

Frames stay in the cache's files, memory-mapped and not normalized. On a GPU they are copied once if they fit, so that a
step transfers nothing but frame numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.train.dataset import FeatureDataset, Segment

MAX_RESIDENT_SHARE = 0.6  # of a GPU's free memory
COPIED_ROWS = 1 << 16  # at once


class FrameLoader:
    """Loads segments of a dataset. `keep` copies all frames to the device at once; None: on a GPU, if they fit."""

    def __init__(self, dataset: FeatureDataset, device: torch.device, keep: bool | None = None) -> None:
        self._dataset, self._device = dataset, device
        self._starts = np.cumsum([0, *(len(source) for source in dataset.sources)])
        size = sum(source.nbytes for source in dataset.sources)
        if keep is None:
            keep = device.type == "cuda" and size < MAX_RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self.resident = self._copy_all() if keep else None

    def _copy_all(self) -> Tensor:
        sources = self._dataset.sources
        whole = torch.empty(int(self._starts[-1]), sources[0].shape[1], dtype=torch.float16, device=self._device)
        for source, start in zip(sources, self._starts, strict=False):
            for row in range(0, len(source), COPIED_ROWS):
                part = np.array(source[row : row + COPIED_ROWS])
                whole[start + row : start + row + len(part)] = torch.from_numpy(part).to(self._device)
        return whole

    def load(self, segments: Sequence[Segment], slots: int, frames: int) -> tuple[Tensor, Tensor]:
        """Return features [slots, frames, P], and a mask [slots, frames, 1] of the frames that the segments fill."""
        index = np.full((slots, frames), -1, dtype=np.int64)
        for segment in segments:
            start = self._starts[segment.row.source] + segment.row.first + segment.start
            index[segment.slot, segment.position : segment.position + segment.count] = np.arange(
                start, start + segment.count
            )
        mask = torch.from_numpy(index >= 0)[:, :, None].to(self._device)
        if self.resident is not None:
            x = self.resident[torch.from_numpy(index.clip(min=0)).to(self._device)]
        else:
            x = self._gather(segments, slots, frames).to(self._device, non_blocking=True)
        return x.float() / self._dataset.scale, mask

    def _gather(self, segments: Sequence[Segment], slots: int, frames: int) -> Tensor:
        sources = self._dataset.sources
        x = np.zeros((slots, frames, sources[0].shape[1]), dtype=np.float16)
        for segment in segments:
            first = segment.row.first + segment.start
            values = sources[segment.row.source][first : first + segment.count]
            x[segment.slot, segment.position : segment.position + segment.count] = values
        return torch.from_numpy(x)

    def whole_clips(self, batch: int) -> Iterator[tuple[list[int], Tensor]]:
        """Yield whole unchanged clips, those of equal length together: their numbers [n] and features [n, F, P]."""
        by_length: dict[int, list[int]] = {}
        for number, passes in enumerate(self._dataset.rows):
            by_length.setdefault(passes[0].frames, []).append(number)
        for frames, numbers in sorted(by_length.items()):
            for start in range(0, len(numbers), batch):
                part = numbers[start : start + batch]
                rows = [self._dataset.rows[number][0] for number in part]
                segments = [Segment(slot, 0, row, 0, frames) for slot, row in enumerate(rows)]
                yield part, self.load(segments, len(part), frames)[0]
