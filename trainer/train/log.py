"""The log of a run, epoch by epoch.

RUN/log.csv         one line per epoch
RUN/events.out.*    for `tensorboard --logdir RUN`, if TensorBoard is installed
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trainer.files import report_write_errors, write_lines

LOG = "log.csv"


@dataclass(frozen=True)
class Epoch:
    """The training loss of an epoch, and the validation scores of the averaged weights: whole clips, and after 3 s."""

    epoch: int
    loss: float
    roc_auc: float
    pr_auc: float
    roc_auc_3s: float
    rate: float
    seconds: float


COLUMNS = tuple(field.name for field in fields(Epoch))


class TrainingLog:
    """The log of the run in `folder`, of which `done` epochs are kept; later ones, from before a kill, are removed."""

    def __init__(self, folder: Path, done: int) -> None:
        self._path = folder / LOG
        self._events = _open_events(folder, done + 1)

    def write(self, epoch: Epoch) -> None:
        """Append an epoch. Raises OutputError if that fails."""
        with report_write_errors(self._path):
            text = self._path.read_text() if self._path.exists() else ",".join(COLUMNS)
            kept = text.splitlines()[: epoch.epoch]
            line = ",".join(f"{getattr(epoch, c):.6g}" for c in COLUMNS)
            write_lines(self._path, (*kept, line))
        if self._events is not None:
            for name in COLUMNS[1:]:
                self._events.add_scalar(name, getattr(epoch, name), epoch.epoch)
            self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def _open_events(folder: Path, first: int) -> Any:
    """Return a writer of TensorBoard's events from epoch `first` on, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)
