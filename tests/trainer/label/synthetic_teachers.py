"""A file of teachers with random weights, in the layout of the published ones, that tell tones and noise apart."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

TAGS = ("guitar", "piano", "drums")
JAMENDO_TAGS = ("instrument---piano", "instrument---drums", "instrument---guitar")  # as published, not sorted
CHANNELS = {"fcn": (64, 128, 128, 128, 64), "crnn": (64, 128, 128, 128)}
USUAL_LOGITS = {"fcn": (2.0, -0.95, 0.26), "musicnn": (-1.75, 7.06, 1.94)}  # of tones, before they are subtracted
TIMBRE, TEMPO = ((204, 1, 67, 7), (204, 1, 38, 7)), ((51, 1, 129), (51, 1, 65), (51, 1, 33))


def write_teachers(path: Path) -> Path:
    """Write mtat-fcn, mtat-crnn, mtat-musicnn, and jamendo-fcn, with three tags, and return the path.

    The last is mtat-fcn with guitar and drums exchanged: its outputs are those of the sorted names.
    """
    rng = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    def layer(name: str, *shape: int, norm: str | None = None, kind: str = ".conv") -> dict[str, Tensor]:
        """A layer with weights of unit gain, and batch normalization that is not the identity."""
        fan_in = int(torch.tensor(shape[1:]).prod())
        found = {f"{name}{kind}.weight": random(*shape) * fan_in**-0.5, f"{name}{kind}.bias": 0.1 * random(shape[0])}
        prefix = f"{name}.bn" if norm is None else norm
        if prefix:
            found |= norm_layer(prefix, shape[0])
        return found

    def norm_layer(prefix: str, size: int, mean: float = 0.0, std: float = 1.0) -> dict[str, Tensor]:
        return {
            f"{prefix}.weight": random(size) if size > 1 else torch.ones(1),  # of both signs
            f"{prefix}.bias": 0.1 * random(size),
            f"{prefix}.running_mean": mean + 0.1 * random(size),
            f"{prefix}.running_var": std**2 * (0.5 + torch.rand(size, generator=rng)),
        }

    tensors = {"mel/window": torch.hann_window(512), "mel/filters": torch.rand(257, 96, generator=rng) ** 20}
    networks: dict[str, dict[str, Tensor]] = {}
    for network, channels in CHANNELS.items():
        weights = norm_layer("spec_bn", 1, -15.0, 5.0)
        for number, (size, before) in enumerate(zip(channels, (1, *channels), strict=False), start=1):
            weights |= layer(f"layer{number}", size, before, 3, 3)
        networks[network] = weights | layer("dense", len(TAGS), 64 if network == "fcn" else 32, norm="", kind="")
    gru = torch.nn.GRU(128, 32, 2)
    networks["crnn"] |= {f"layer5.{name}": 0.3 * random(*value.shape) for name, value in gru.state_dict().items()}
    weights = norm_layer("spec_bn", 1, -15.0, 5.0)
    for number, shape in enumerate((*TIMBRE, *TEMPO)):
        weights |= layer(f"layers.{number}", *shape)
    weights |= layer("layer1", 64, 561, 7) | layer("layer2", 64, 64, 7) | layer("layer3", 64, 64, 7)
    weights |= layer("dense1", 200, 1506, norm="bn", kind="") | layer("dense2", len(TAGS), 200, norm="", kind="")
    networks["musicnn"] = weights
    for network, name in (("fcn", "dense"), ("musicnn", "dense2")):
        networks[network][f"{name}.bias"] -= torch.tensor(USUAL_LOGITS[network]) + 0.85  # about 0.3 is usual then
    for network, weights in networks.items():
        tensors |= {f"mtat-{network}/{name}": value.half() for name, value in weights.items()}
    for name, value in networks["fcn"].items():
        tensors[f"jamendo-fcn/{name}"] = (value[[2, 0, 1]] if name.startswith("dense") else value).half()
    save_file(tensors, str(path), {"teachers": json.dumps({"tags": {"mtat": TAGS, "jamendo": JAMENDO_TAGS}})})
    return path
