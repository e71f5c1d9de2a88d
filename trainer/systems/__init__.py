"""The systems that can be trained, by name: network layers, their combinations, and the table of the paper.

Imports torch and streamtag's errors, nothing else of the trainer.
Start reading at `system` and `table`; `recurrent` defines the state that all streaming systems share.
"""

from trainer.systems.recurrent import Dropout, Recurrent, RecurrentState
from trainer.systems.system import Published, System
from trainer.systems.table import SYSTEMS, TABLE_2, named

__all__ = ["SYSTEMS", "TABLE_2", "Dropout", "Published", "Recurrent", "RecurrentState", "System", "named"]
