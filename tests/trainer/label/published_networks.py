"""The taggers as published: batch normalization apart, two-dimensional convolutions, ReLU before pooling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

POOLS = {"fcn": [(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)], "crnn": [(2, 2), (3, 3), (4, 4), (4, 4)]}


def published_network(network: str, file: Path) -> Callable[[Tensor], Tensor]:
    """Return a function of windows, [N, T] -> [N, tags], with the weights in `file`."""
    w = {
        k.partition("/")[2]: v.float()
        for k, v in load_file(str(file)).items()
        if k.startswith((f"mtat-{network}", "mel"))
    }

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (w[f"{name}.{x}"] for x in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, variance, weight, bias)

    def block(x: Tensor, name: str) -> Tensor:
        weight = w[f"{name}.conv.weight"]
        same = tuple(size // 2 for size in weight.shape[2:])
        convolve = functional.conv2d if weight.dim() == 4 else functional.conv1d
        return functional.relu(norm(convolve(x, weight, w[f"{name}.conv.bias"], padding=same), f"{name}.bn"))

    def log_mel(windows: Tensor) -> Tensor:
        spectrum = torch.stft(windows, 512, 256, window=w["window"], return_complex=True, pad_mode="reflect")
        return norm(10 * torch.log10((w["filters"].T @ spectrum.abs() ** 2).clamp(min=1e-10))[:, None], "spec_bn")

    def convolutional(windows: Tensor) -> Tensor:
        x = log_mel(windows)
        for number, pool in enumerate(POOLS[network], start=1):
            x = functional.max_pool2d(block(x, f"layer{number}"), pool)
        if network == "crnn":
            gru = torch.nn.GRU(128, 32, 2, batch_first=True)
            gru.load_state_dict({name: w[f"layer5.{name}"] for name in gru.state_dict()})
            x = gru(x.squeeze(2).transpose(1, 2))[0][:, -1]
        return torch.sigmoid(x.flatten(1) @ w["dense.weight"].T + w["dense.bias"])

    def musicnn(windows: Tensor) -> Tensor:
        mel = log_mel(windows)
        parts = []
        for name in ("layers.0", "layers.1"):
            y = functional.conv2d(mel, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding=(0, 3))
            parts.append(functional.relu(norm(y, f"{name}.bn")).amax(dim=2))
        parts += [block(mel[:, 0].mean(dim=1, keepdim=True), f"layers.{number}") for number in (2, 3, 4)]
        x = torch.cat(parts, dim=1)
        a = block(x, "layer1")
        b = block(a, "layer2") + a
        x = torch.cat([x, a, b, block(b, "layer3") + b], dim=1)
        x = torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)
        x = functional.relu(norm(x @ w["dense1.weight"].T + w["dense1.bias"], "bn"))
        return torch.sigmoid(x @ w["dense2.weight"].T + w["dense2.bias"])

    return torch.inference_mode()(musicnn if network == "musicnn" else convolutional)
