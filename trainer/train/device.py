"""The device of a process, and the precision of its matrix products."""

from __future__ import annotations

import os

import torch

from streamtag.errors import DeviceError, SpecError


def open_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; of several GPUs that of this process. Raises
    DeviceError without a GPU, SpecError for another name."""
    if name not in ("auto", "cpu", "cuda"):
        raise SpecError(f"device {name!r}: not one of auto, cpu, cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError("device cuda: no GPU that this torch can use")
    if name == "cpu" or not available:
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuDNN's recurrent layers vary from run to run
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # front ends are convolutions, and must give what they give on a CPU
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products for `bfloat16` or `float32`: float32 on devices without units for bfloat16,
    which emulate it at a fraction of the speed."""
    wanted: torch.dtype = getattr(torch, precision)
    return wanted if wanted == torch.float32 or has_bfloat16_units(device.type) else torch.float32


def allow_rounded_products(dtype: torch.dtype, device: torch.device) -> None:
    """Let cuDNN round the products of float32 layers to TF32 (10 bits), unless training is to be in float32."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = dtype != torch.float32


def fallback_note(precision: str, device: torch.device) -> str:
    """Return a line for the user if the products are not computed in this precision, otherwise nothing."""
    used = product_dtype(precision, device)
    if used == getattr(torch, precision):
        return ""
    return f"precision: float32, since this {device.type.replace('cuda', 'gpu').upper()} has no units for {precision}"


def has_bfloat16_units(kind: str) -> bool:
    """Return whether the CPU (AMX, AVX512-BF16, Arm's BF16) or the GPU multiplies bfloat16 in hardware."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if hasattr(torch.cpu, "get_capabilities"):
        return any(found is True and "bf16" in name for name, found in torch.cpu.get_capabilities().items())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # before torch 2.10
