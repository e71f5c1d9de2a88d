"""The teachers: equal to the networks of their papers, written plainly here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from streamtag.errors import ManifestError
from tests.trainer.label.synthetic_teachers import TAGS, write_teachers
from trainer.label.teachers import load_teachers

POOLS = {"fcn": [(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)], "crnn": [(2, 2), (3, 3), (4, 4), (4, 4)]}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teachers(tmp_path_factory.mktemp("teachers") / "teachers.safetensors")


def plain(network: str, file: Path, windows: Tensor) -> Tensor:
    """The same network with separate batch normalization and two-dimensional convolutions: [N, T] -> [N, tags]."""
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

    spectrum = torch.stft(windows, 512, 256, window=w["window"], return_complex=True, pad_mode="reflect").abs() ** 2
    mel = norm(10 * torch.log10((w["filters"].T @ spectrum).clamp(min=1e-10))[:, None], "spec_bn")
    if network != "musicnn":
        for number, pool in enumerate(POOLS[network], start=1):
            mel = functional.max_pool2d(block(mel, f"layer{number}"), pool)
        if network == "crnn":
            gru = torch.nn.GRU(128, 32, 2, batch_first=True)
            gru.load_state_dict({name: w[f"layer5.{name}"] for name in gru.state_dict()})
            mel = gru(mel.squeeze(2).transpose(1, 2))[0][:, -1]
        return torch.sigmoid(mel.flatten(1) @ w["dense.weight"].T + w["dense.bias"])
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


@pytest.mark.parametrize(("network", "seconds", "count"), [("fcn", 29, 1), ("crnn", 29, 1), ("musicnn", 3, 2)])
def test_a_teacher_equals_its_network_written_plainly(file: Path, network: str, seconds: int, count: int) -> None:
    audio = 0.1 * torch.randn(count * seconds * 16000, generator=torch.Generator().manual_seed(2))
    audio *= torch.linspace(0.1, 2.0, len(audio))
    (teacher,) = load_teachers(file, (f"mtat-{network}",))
    found = teacher.predict(audio)
    with torch.inference_mode():
        expected = plain(network, file, audio.reshape(count, -1))
        other = plain(network, file, audio.flip(0).reshape(count, -1))
    assert teacher.tags == TAGS
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (other - expected).abs().max() > 1e-3  # the prediction depends on the audio


def test_short_audio_is_repeated_and_a_remainder_ignored(file: Path) -> None:
    (teacher,) = load_teachers(file, ("mtat-musicnn",))
    second = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(3))
    found = teacher.predict(second)
    torch.testing.assert_close(found, teacher.predict(second.repeat(3)))
    torch.testing.assert_close(found, teacher.predict(torch.cat([second.repeat(3), torch.ones(47999)])))


def test_a_teacher_that_is_missing_is_named_with_those_that_exist(file: Path) -> None:
    with pytest.raises(ManifestError, match=r"no teacher 'msd-fcn'; it has mtat-crnn, mtat-fcn, mtat-musicnn"):
        load_teachers(file, ("msd-fcn",))


def test_a_file_that_holds_no_teachers_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(ManifestError, match="not a file of teachers"):
        load_teachers(path, ("mtat-fcn",))
