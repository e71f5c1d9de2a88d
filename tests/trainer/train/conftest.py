"""What the processor can do, as torch reports it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

SetUnits = Callable[[bool], None]


@pytest.fixture
def set_bfloat16_units(monkeypatch: pytest.MonkeyPatch) -> SetUnits:
    """(units) -> from now on the CPU has units for bfloat16, or has none."""

    def set_units(units: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)

    return set_units
