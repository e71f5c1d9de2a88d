"""Public music taggers that label any audio: the FCN, the CRNN and musicnn.

The networks follow Choi et al. 2016 (FCN), Choi et al. 2017 (CRNN) and Pons et al. 2018 (musicnn), in the form of Won
et al. 2020, "Evaluation of CNN-based automatic music tagging models". The weights are read from one safetensors file:

    mel/window [512], mel/filters [257, 96]   the spectrogram that all networks share
    DATA-NETWORK/...                          weights, such as mtat-musicnn/layer1.conv.weight
    metadata "teachers"                       JSON: {"tags": {DATA: [names]}}, of the outputs in this order, but of
                                              jamendo's, which are in alphabetical order

Batch normalization is folded into the convolutions when the file is read. Max-pooling comes before ReLU, which is the
same and touches fewer values.

Convolutions may be computed in bfloat16 where the processor has units for it. One thread, a clip of 29 s of the FCN and
of musicnn: 56 and 259 ms in float32, 29 and 126 ms in bfloat16, with predictions that differ by up to 0.005.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from streamtag.errors import ManifestError

SAMPLE_RATE = 16000
FFT_SIZE, HOP = 512, 256
NORM_EPSILON = 1e-5
MIN_POWER = 1e-10  # -100 dB
POOLS = {
    "fcn": ((2, 4), (2, 4), (2, 4), (3, 5), (4, 4)),
    "crnn": ((2, 2), (3, 3), (4, 4), (4, 4)),
}
SORTED = ("jamendo",)  # vocabularies whose published list is not in the order of the outputs
WINDOW_S = {"fcn": 29.0, "crnn": 29.0, "musicnn": 3.0}
CRNN_UNITS = 32
PART_FRAMES = 256  # of a spectrogram, whose first convolution stays in the processor's cache

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Teacher:
    """One network. `tags` are the names of its outputs; a window of `window_s` seconds gives one prediction.

    `precision` is that of the convolutions.
    """

    name: str
    tags: tuple[str, ...]
    weights: Weights
    precision: torch.dtype = torch.float32

    @property
    def network(self) -> str:
        return self.name.rpartition("-")[2]

    @property
    def window_s(self) -> float:
        return WINDOW_S[self.network]

    @torch.inference_mode()
    def predict(self, audio: Tensor) -> Tensor:
        """Return the probabilities of consecutive windows: audio [T] at 16 kHz -> [W, tags].

        Audio that is shorter than one window is repeated; samples after the last whole window are ignored.
        """
        size = round(self.window_s * SAMPLE_RATE)
        if len(audio) < size:
            audio = audio.repeat(-(-size // max(len(audio), 1)))[:size]
        windows = audio[: len(audio) // size * size].reshape(-1, size)
        w = self.weights
        mel = _log_mel(windows, w) * w["spec_bn.scale"] + w["spec_bn.shift"]
        hidden = _musicnn(mel, w, self.precision) if self.network == "musicnn" else self._stack(mel)
        return torch.sigmoid(hidden)

    def _stack(self, mel: Tensor) -> Tensor:
        """Run the convolutions of the FCN or the CRNN: [N, 96, frames] -> logits [N, tags]."""
        w, pools = self.weights, POOLS[self.network]
        x = mel[:, None].to(self.precision)
        for number, pool in enumerate(pools, start=1):
            weight = w[f"layer{number}.conv.weight"].to(self.precision, memory_format=torch.channels_last)
            x = _convolve_and_pool(x, weight, w[f"layer{number}.conv.bias"].to(self.precision), pool)
        x = x.float()
        if self.network == "crnn":
            gru = nn.GRU(x.shape[1], CRNN_UNITS, 2, batch_first=True)
            gru.load_state_dict({name: w[f"layer5.{name}"] for name in gru.state_dict()})
            x = gru(x.squeeze(2).transpose(1, 2))[0][:, -1]
        return functional.linear(x.flatten(1), w["dense.weight"], w["dense.bias"])


def load_teachers(path: Path, names: tuple[str, ...], precision: torch.dtype = torch.float32) -> tuple[Teacher, ...]:
    """Read the named teachers. Raises ManifestError if the file is none, or lacks one of them."""
    try:
        with safe_open(str(path), "pt") as file:
            tags = json.loads((file.metadata() or {})["teachers"])["tags"]
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ManifestError(f"{path}: not a file of teachers: {error}") from error
    known = sorted({key.partition("/")[0] for key in tensors} - {"mel"})
    shared = {key: value for key, value in tensors.items() if key.startswith("mel/")}
    teachers = []
    for name in names:
        data = name.partition("-")[0]
        if name not in known or data not in tags or name.rpartition("-")[2] not in WINDOW_S:
            raise ManifestError(f"{path}: no teacher {name!r}; it has {', '.join(known)}")
        own = {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(name + "/")}
        outputs = sorted(tags[data]) if data in SORTED else tags[data]
        teachers.append(Teacher(name, tuple(outputs), _fold(own) | shared, precision))
    return tuple(teachers)


def weights_digest(path: Path) -> str:
    """Return the first 16 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _fold(weights: Weights) -> dict[str, Tensor]:
    """Return the weights with every batch normalization folded into the layer before it, or kept as scale and shift."""
    folded = {key: value for key, value in weights.items() if ".bn." not in key and not key.startswith("bn.")}
    for key in [key for key in weights if key.endswith("bn.running_var")]:
        prefix = key.removesuffix("running_var")
        scale = weights[prefix + "weight"] / torch.sqrt(weights[key] + NORM_EPSILON)
        shift = weights[prefix + "bias"] - weights[prefix + "running_mean"] * scale
        if prefix == "spec_bn.":
            folded |= {"spec_bn.scale": scale, "spec_bn.shift": shift}
            continue
        layer = "dense1" if prefix == "bn." else prefix.removesuffix("bn.") + "conv"
        weight = weights[layer + ".weight"]
        folded[layer + ".weight"] = (weight * scale.reshape(-1, *[1] * (weight.dim() - 1))).contiguous()
        folded[layer + ".bias"] = weights[layer + ".bias"] * scale + shift
    return folded


def _log_mel(windows: Tensor, w: Weights) -> Tensor:
    """Return decibels of the mel power spectrum: [N, T] -> [N, 96, frames]."""
    spectrum = torch.stft(
        windows, FFT_SIZE, HOP, window=w["mel/window"], center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return 10.0 * torch.log10((w["mel/filters"].T @ power).clamp(min=MIN_POWER))


def _convolve_and_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int]) -> Tensor:
    """Convolve [N, C, bands, frames] with filters of 3 x 3, pool, and apply ReLU, part by part of the frames."""
    part = PART_FRAMES // pool[1] * pool[1]
    length = x.shape[3] // pool[1] * pool[1]
    padded = functional.pad(x, (1, 1))
    parts = []
    for start in range(0, length, part):
        piece = padded[..., start : min(start + part, length) + 2].contiguous(memory_format=torch.channels_last)
        convolved = functional.conv2d(piece, weight, bias, padding=(1, 0))
        parts.append(functional.relu_(functional.max_pool2d(convolved, pool)))
    return torch.cat(parts, dim=3)


def _musicnn(mel: Tensor, w: Weights, precision: torch.dtype) -> Tensor:
    """Run musicnn: [N, 96, frames] -> logits [N, tags]."""
    mean = mel.mean(dim=1, keepdim=True)
    tall = (w[f"layers.{number}.conv.weight"].to(precision) for number in (0, 1))
    features = [_timbre(mel, weight, w[f"layers.{number}.conv.bias"]) for number, weight in enumerate(tall)]
    features += [functional.relu(_conv(mean, w, f"layers.{number}")) for number in (2, 3, 4)]
    x = torch.cat(features, dim=1)
    a = functional.relu(_conv(x, w, "layer1"))
    b = functional.relu(_conv(a, w, "layer2")) + a
    c = functional.relu(_conv(b, w, "layer3")) + b
    x = torch.cat([x, a, b, c], dim=1)
    x = torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)
    x = functional.relu(functional.linear(x, w["dense1.weight"], w["dense1.bias"]))
    return functional.linear(x, w["dense2.weight"], w["dense2.bias"])


def _conv(x: Tensor, w: Weights, name: str) -> Tensor:
    weight = w[f"{name}.conv.weight"]
    return functional.conv1d(x, weight, w[f"{name}.conv.bias"], padding=weight.shape[2] // 2)


def _timbre(mel: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with tall filters [C, 1, H, W], and keep the largest value over frequency: [N, 96, L] -> [N, C, L].

    Each position in frequency is one matrix product with a slab of the samples that its filters see, so that nothing
    is copied and only the running maximum is kept. That takes a third of the time of a two-dimensional convolution.
    """
    channels, _, height, width = weight.shape
    count, bands, length = mel.shape
    padded = functional.pad(mel, (width // 2, width // 2)).to(weight.dtype)
    slabs = padded.unfold(2, length, 1).permute(1, 2, 0, 3).reshape(bands * width, count * length)
    filters = weight.reshape(channels, height * width)
    best = filters @ slabs[: height * width]
    product = torch.empty_like(best)
    for band in range(1, bands - height + 1):
        torch.mm(filters, slabs[band * width : (band + height) * width], out=product)
        torch.maximum(best, product, out=best)
    return functional.relu_(best.float() + bias[:, None]).reshape(channels, count, length).permute(1, 0, 2)
