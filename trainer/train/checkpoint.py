"""Tensors and JSON in one safetensors file, written completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from streamtag.errors import ManifestError, OutputError
from trainer.files import replacing


def save(tensors: dict[str, Tensor], meta: dict[str, Any], path: Path) -> None:
    """Write tensors and JSON, the latter as one entry, so that equal contents are equal bytes.

    Raises OutputError if that fails; an existing file then stays.
    """
    try:
        with replacing(path) as part:
            save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, part, {"meta": json.dumps(meta)})
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written: {error}: free some space and run it again") from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `save` wrote. Raises ManifestError if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["meta"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path}: no training file: {error}") from error


def matching(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], prefix: str, folder: Path) -> dict[str, Tensor]:
    """Return the tensors named `prefix` plus a name in `like`, under that name.

    Raises ManifestError, which names `folder`, if one is missing or has another shape.
    """
    found = {name: tensors.get(prefix + name) for name in like}
    result = {name: t for name, t in found.items() if t is not None and t.shape == like[name].shape}
    if len(result) < len(like):
        raise ManifestError(f"{folder}: its weights are of another network")
    return result
