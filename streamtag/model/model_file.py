"""A tagger as one self-describing safetensors file: weights, settings, tags, thresholds, concepts, card.

The header's metadata holds JSON texts; the front end's settings are under its kind (see FRONT_ENDS). Loading takes a
path and nothing else, and runs no code from the file. The concepts may be missing, as in older files: each tag is then
one of its own.
"""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from streamtag.errors import ModelFileError, OutputError, SpecError
from streamtag.model.device_errors import report_device_errors
from streamtag.model.front_end import FrontEnd
from streamtag.model.lstm import STEPS
from streamtag.model.network import TaggerNetwork, make_front_end, make_network
from streamtag.model.normalization import Normalization, Normalizer, Standardization
from streamtag.model.recurrent import FrameNetwork
from streamtag.spec import (
    FRONT_ENDS,
    NETWORKS,
    ConceptSpec,
    ConvolutionalSpec,
    NetworkSpec,
    NormalizationSpec,
    ScatteringSpec,
    StackSpec,
    TransposedSpec,
    front_end_kind,
    network_family,
)
from streamtag.text import describe_os_error

FORMAT = "streamtag-model-1"
MAX_PARAMETERS = 100_000_000  # that a file may request before anything is allocated
READ_SIZE = 1 << 20  # bytes
RECURRENT, FAMILY = "recurrent", "family"  # of networks: a key of NETWORKS, and where the file has it
_KEYS = ("normalization", "network", "tags", "thresholds", "card")
_OPTIONAL_KEYS = ("concepts",)


def load_tagger(path: Path, device: torch.device | str = "cpu") -> TaggerNetwork:
    """Load a model file onto a device, in single precision.

    Raises ModelFileError if the file is missing, truncated, no model, or does not fit its own settings, DeviceError if
    the device fails.
    """
    metadata, tensors = _read(path)
    if metadata.get("format") != FORMAT:
        raise ModelFileError(f"{path}: not a streamtag model file of this version")
    try:
        keys = (*_KEYS, *(key for key in (*_OPTIONAL_KEYS, *FRONT_ENDS) if key in metadata))
        description = {key: json.loads(metadata[key]) for key in keys}
        tagger = _build(str(path), description, tensors)
    except (KeyError, TypeError, ValueError, SpecError) as error:
        raise ModelFileError(f"{path}: damaged model description: {error}") from error
    with report_device_errors("the model"):
        return tagger.to(device)


def save_tagger(tagger: TaggerNetwork, path: Path) -> None:
    """Write a model file: weights in half precision, the constants of normalizations in single precision.

    Raises ModelFileError if a weight is not finite in half precision, OutputError if the file cannot be written.
    """
    description, weights = _describe(tagger)
    tensors = {}
    for name, tensor in weights.items():
        half = "weight" in name or "bias" in name
        tensors[name] = tensor.detach().cpu().to(torch.float16 if half else torch.float32).contiguous()
        if not bool(tensors[name].isfinite().all()):
            raise ModelFileError(f"{path}: {name} is not finite in half precision")
    texts = {key: json.dumps(value, ensure_ascii=False, allow_nan=False) for key, value in description.items()}
    try:
        save_file(tensors, path, metadata={"format": FORMAT, **texts})
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written: {error}") from error


def serialize(tagger: TaggerNetwork) -> tuple[str, bytes]:
    """Return a tagger for another process: its settings as JSON, and its weights in full precision."""
    description, tensors = _describe(tagger)
    return json.dumps(description), save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def deserialize(description: str, weights: bytes) -> TaggerNetwork:
    """Return the tagger of `serialize` on the CPU. Raises ModelFileError if the weights do not fit the settings."""
    return _build("the model", json.loads(description), load(weights))


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a model file: equal for equal weights and settings. Raises ModelFileError."""
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(READ_SIZE):
                digest.update(block)
    except OSError as error:
        raise ModelFileError(f"{path}: {describe_os_error(error)}") from None
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path}: not a model file, or damaged: {error}") from error


def _describe(tagger: TaggerNetwork) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings, for JSON, and the weights by name."""
    normalization = tagger.normalization
    description = {
        front_end_kind(tagger.spec): tagger.spec.to_dict(),
        "normalization": {} if isinstance(normalization, Standardization) else normalization.spec.to_dict(),
        "network": _describe_network(tagger.recurrent.spec),
        "tags": list(tagger.tags),
        "thresholds": [round(t, 4) for t in tagger.thresholds],
        "concepts": [concept.to_dict() for concept in tagger.concepts],
        "card": tagger.card,
    }
    return description, _tensors(normalization, tagger.recurrent, tagger.head)


def _describe_network(spec: StackSpec) -> dict[str, Any]:
    family = network_family(spec)
    return spec.to_dict() if family == RECURRENT else {FAMILY: family, **spec.to_dict()}


def _parse_network(values: Any) -> StackSpec:
    """Return the settings. Files from before there were families hold recurrent layers. Raises as _build does."""
    if not isinstance(values, dict):
        raise ValueError("the network must be an object")
    family = values.pop(FAMILY, RECURRENT)
    if not isinstance(family, str) or family not in NETWORKS:
        raise ValueError(f"a network of {', '.join(NETWORKS)} is needed, not {family!r}")
    return NETWORKS[family].from_dict(values)


def _build(name: str, description: dict[str, Any], tensors: dict[str, Tensor]) -> TaggerNetwork:
    """Build a network. name: of the file, for errors.

    Raises KeyError, TypeError, ValueError or SpecError for a damaged description, ModelFileError for the weights.
    """
    front_end, normalization = _front_end(description)
    network = _parse_network(description["network"])
    tags, thresholds, card = _parse_description(description)
    concepts = _parse_concepts(description["concepts"]) if "concepts" in description else None
    if _parameter_count(network) > MAX_PARAMETERS:
        raise ModelFileError(f"{name}: a network of more than {MAX_PARAMETERS:,} parameters")
    try:
        with torch.device("meta"):  # nothing is allocated or initialised before the weights are assigned
            stack, head = make_network(network), nn.Linear(network.hidden, network.outputs)
        _check_tensors(name, tensors, _tensors(normalization, stack, head))
        weights = {name: tensor.float() for name, tensor in tensors.items()}
        _check_values(name, weights)
        for prefix, module in _modules(normalization, stack, head).items():
            module.load_state_dict({name: weights[prefix + name] for name in module.state_dict()}, assign=True)
        return TaggerNetwork(front_end, normalization, stack, head, tags, thresholds, card, concepts)
    except SpecError as error:
        raise ModelFileError(f"{name}: settings that do not fit: {error}") from error


def _front_end(description: dict[str, Any]) -> tuple[FrontEnd[Any], Normalizer]:
    """Return the front end and its normalization. Raises as _build does."""
    kinds = [kind for kind in FRONT_ENDS if kind in description]
    if len(kinds) != 1:
        raise ValueError(f"one front end of {', '.join(FRONT_ENDS)} is needed, not {', '.join(kinds) or 'another'}")
    spec = FRONT_ENDS[kinds[0]].from_dict(description[kinds[0]])
    front_end = make_front_end(spec)
    if isinstance(spec, ScatteringSpec):
        return front_end, Normalization(NormalizationSpec.from_dict(description["normalization"]), spec)
    if description["normalization"] != {}:
        raise ValueError(f"a normalization that is not that of {kinds[0]}")
    return front_end, Standardization(front_end.path_count)


def _parse_description(description: dict[str, Any]) -> tuple[list[str], list[float], dict[str, Any]]:
    tags, thresholds, card = description["tags"], description["thresholds"], description["card"]
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise ValueError("tags must be a list of names")
    if not isinstance(thresholds, list) or not all(_is_probability(t) for t in thresholds):
        raise ValueError("thresholds must be a list of probabilities")
    if not isinstance(card, dict):
        raise ValueError("the card must be an object")
    return tags, [float(t) for t in thresholds], card


def _parse_concepts(values: Any) -> list[ConceptSpec]:
    if not isinstance(values, list):
        raise ValueError("concepts must be a list")
    return [ConceptSpec.from_dict(value) for value in values]


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _parameter_count(spec: StackSpec) -> int:
    """Return the number of parameters, or a little more."""
    if isinstance(spec, ConvolutionalSpec):
        sizes = zip((1, *spec.channels), spec.channels, strict=False)
        return sum((9 * before + 5) * after for before, after in sizes) + spec.outputs * (spec.hidden + 1)
    if isinstance(spec, TransposedSpec):
        return _parameter_count(spec.recurrent)
    assert isinstance(spec, NetworkSpec)
    inputs = spec.inputs + (spec.layers - 1) * spec.hidden
    gates = 3 if spec.cell == "GRU" else 4
    by_age = STEPS * 14 * spec.hidden * spec.layers if spec.cell == "BN-LSTM" else 0
    weights = gates * spec.hidden * (inputs + spec.layers * (spec.hidden + 2)) + spec.outputs * (spec.hidden + 1)
    return weights + by_age


def _modules(normalization: nn.Module, stack: FrameNetwork[Any], head: nn.Module) -> dict[str, nn.Module]:
    return {"normalization.": normalization, "": stack, "head.": head}


def _tensors(normalization: nn.Module, stack: FrameNetwork[Any], head: nn.Module) -> dict[str, Tensor]:
    modules = _modules(normalization, stack, head)
    return {prefix + name: t for prefix, module in modules.items() for name, t in module.state_dict().items()}


def _check_tensors(path: str, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    if tensors.keys() != expected.keys():
        names = sorted(tensors.keys() ^ expected.keys())
        raise ModelFileError(f"{path}: missing or unknown tensors: {', '.join(names[:4])}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise ModelFileError(f"{path}: {name} has shape {list(tensor.shape)}, not {list(expected[name].shape)}")


def _check_values(path: str, weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        if not math.isfinite(weight.sum()):  # a tenth of the time of isfinite().all()
            raise ModelFileError(f"{path}: {name} holds values that are not finite")
        if name.endswith("variance") and bool((weight < 0).any()):
            raise ModelFileError(f"{path}: {name} must not be below zero")
    if bool((weights["normalization.std"] <= 0).any()):
        raise ModelFileError(f"{path}: normalization.std must be above zero")
