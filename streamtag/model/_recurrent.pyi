from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Layer = tuple[Array, Array, Array, Array, Array]

def run(
    kind: int,
    layers: tuple[Layer, ...],
    x: Array,
    state: Array,
    ages: Array,
    y: Array,
    sizes: tuple[int, int, int, int],
    /,
) -> None: ...
def supported() -> bool: ...
