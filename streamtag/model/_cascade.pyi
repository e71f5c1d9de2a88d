from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Plan = tuple[bytes, Array]
Stage = tuple[int, int, int, int, Array, Array, Array, int, int, Plan, tuple[bytes, Array, Array]]
Branch = tuple[tuple[Stage, ...], tuple[int, bytes, Array, Array, Array], Array, int, int, int, int]

def run(
    branch: Branch,
    audio: Array,
    given: Array,
    sums: Array,
    rows: Array,
    windows: int,
    samples: int,
    given_points: int,
    threads: int,
    /,
) -> None: ...
def step(
    branches: tuple[Branch, Branch],
    plan: tuple[bytes, Array, Array, int, int, int, int, int, int],
    audio: Array,
    sums: Array,
    bands: Array,
    past: Array,
    frames: Array,
    streams: int,
    hops: int,
    samples: int,
    threads: int,
    /,
) -> None: ...
