"""What a run came to, epoch after epoch: log.csv, and events for TensorBoard.

RUN/log.csv         a line an epoch
RUN/events.out.*    for `tensorboard --logdir RUN`
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from streamtag.errors import OutputError


@dataclass(frozen=True)
class Epoch:
    """loss: of training; the scores: of validation with averaged weights, after whole clips and after 3 s."""

    epoch: int
    loss: float
    roc_auc: float
    pr_auc: float
    roc_auc_3s: float
    rate: float
    seconds: float


COLUMNS = tuple(field.name for field in fields(Epoch))


class TrainingLog:
    """Of the run in `folder`, of which `done` epochs are kept: what was written after them, before a kill, goes."""

    def __init__(self, folder: Path, done: int) -> None:
        self._path = folder / "log.csv"
        self._events = SummaryWriter(str(folder), purge_step=done + 1)

    def write(self, epoch: Epoch) -> None:
        """Raises OutputError if the disk does not take it."""
        try:
            text = self._path.read_text() if self._path.exists() else ",".join(COLUMNS)
            kept = text.splitlines()[: epoch.epoch]
            with self._path.open("w", newline="") as file:
                file.write("\n".join(kept) + "\n")
                csv.writer(file, lineterminator="\n").writerow(f"{getattr(epoch, c):.6g}" for c in COLUMNS)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror or error}") from error
        for name in COLUMNS[1:]:
            self._events.add_scalar(name, getattr(epoch, name), epoch.epoch)
        self._events.flush()

    def close(self) -> None:
        self._events.close()
