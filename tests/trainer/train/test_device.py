"""Matrix products are computed in bfloat16 only where the hardware has units for it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from streamtag.errors import DeviceError, SpecError
from tests.conftest import Need
from tests.trainer.train.conftest import SetUnits
from trainer.bench.training import random_data
from trainer.train.config import TrainConfig
from trainer.train.device import fallback_note, has_bfloat16_units, open_device, product_dtype
from trainer.train.loop import Run

CPU = torch.device("cpu")


def test_devices_are_checked() -> None:
    assert open_device("cpu").type == "cpu"
    with pytest.raises(SpecError, match="auto, cpu, cuda"):
        open_device("tpu")
    if not torch.cuda.is_available():
        assert open_device("auto").type == "cpu"
        with pytest.raises(DeviceError, match="no GPU"):
            open_device("cuda")


def test_the_units_of_this_cpu_are_found(need: Need) -> None:
    flags = Path("/proc/cpuinfo")
    need("proc", flags.exists() and platform.machine() == "x86_64", "CPU does not list its units")
    listed = set(flags.read_text().split())
    assert has_bfloat16_units("cpu") == bool(listed & {"avx512_bf16", "amx_bf16"})


def test_bfloat16_needs_units_for_it(set_bfloat16_units: SetUnits) -> None:
    for units, used, note in (
        (True, torch.bfloat16, ""),
        (False, torch.float32, "precision: float32, since this CPU has no units for bfloat16"),
    ):
        set_bfloat16_units(units)
        assert product_dtype("bfloat16", CPU) == used
        assert fallback_note("bfloat16", CPU) == note
        assert product_dtype("float32", CPU) == torch.float32
        assert fallback_note("float32", CPU) == ""


def test_a_gpu_without_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(system="Scat-1L-8H-GRU", epochs=1, batch=4, frames=10)
    run = Run(tmp_path, config, random_data(config, 0.001, 20 * 4096))

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")

    monkeypatch.setattr(run, "train_step", fail)
    with pytest.raises(DeviceError, match=r"^not enough memory on the GPU: CUDA .* Tried to allocate 2\.00 GiB$"):
        next(run.epochs())
