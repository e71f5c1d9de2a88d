from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Plan = tuple[bytes, Array]
Stage = tuple[int, int, int, int, Array, Array, Array, int, int, Plan, tuple[bytes, Array, Array]]

def run(
    stages: tuple[Stage, ...],
    spectrum: Array,
    given: Array,
    sums: Array,
    rows: Array,
    sizes: tuple[int, int, int, int, int],
    windows: int,
    threads: int,
    /,
) -> None: ...
