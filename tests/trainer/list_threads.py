"""`python -m tests.trainer.list_threads FOLDER WORDS...`: the trainer's command line, which leaves in FOLDER/RANK.json
the names of the threads that live when its group is about to end, and when the interpreter is."""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
from pathlib import Path

from torch import distributed

from trainer.cli import main

TASKS = Path("/proc/self/task")


def threads() -> list[str]:
    """Those of libraries by the system's name, those of Python by their own."""
    system = [(task / "comm").read_text().strip() for task in TASKS.iterdir()]
    return sorted([*system, *(f"Python's {thread.name}" for thread in threading.enumerate())])


def watch(path: Path) -> None:
    found: dict[str, list[str]] = {}
    destroy = distributed.destroy_process_group

    def record_and_destroy(group: distributed.ProcessGroup | None = None) -> None:
        found["group"] = threads()
        destroy(group)

    def record() -> None:
        found["interpreter"] = threads()
        path.write_text(json.dumps(found))

    distributed.destroy_process_group = record_and_destroy
    atexit.register(record)


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)) / f"{os.environ['RANK']}.json")
    main()
