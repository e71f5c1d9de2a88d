"""Tensors and JSON in one safetensors file, complete or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from streamtag.errors import ManifestError, OutputError


def save(tensors: dict[str, Tensor], meta: dict[str, Any], path: Path) -> None:
    """Tensors and JSON in one file, complete or not at all; one entry, so that equal contents are equal
    bytes. Raises OutputError if the disk does not take it: what was there before stays."""
    aside = path.with_name(f".{path.name}.part")
    try:
        save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, aside, {"meta": json.dumps(meta)})
        aside.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            aside.unlink()
        raise OutputError(f"{path}: cannot be written: {error}: free some space and run it again") from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote. Raises ManifestError if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["meta"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path}: no training file: {error}") from error


def fitting(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], prefix: str, where: Path) -> dict[str, Tensor]:
    """Of `tensors` those that are called `prefix` and a name in `like`, under that name.

    Raises ManifestError, in the name of `where`, if one is missing or has another shape than its like.
    """
    found = {name: tensors.get(prefix + name) for name in like}
    result = {name: t for name, t in found.items() if t is not None and t.shape == like[name].shape}
    if len(result) < len(like):
        raise ManifestError(f"{where}: its weights are of another network")
    return result
