"""The systems that can be trained, by name."""

from trainer.systems.recurrent import Dropout, Memory, Recurrent
from trainer.systems.system import Figures, System
from trainer.systems.table import SYSTEMS, TABLE_2, named

__all__ = ["SYSTEMS", "TABLE_2", "Dropout", "Figures", "Memory", "Recurrent", "System", "named"]
