"""The teachers: equal to the networks as published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamtag.errors import ManifestError
from tests.trainer.label.published_networks import published_network
from tests.trainer.label.synthetic_teachers import TAGS, write_teachers
from trainer.label.teachers import load_teachers


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teachers(tmp_path_factory.mktemp("teachers") / "teachers.safetensors")


@pytest.mark.parametrize(("network", "seconds", "count"), [("fcn", 29, 1), ("crnn", 29, 1), ("musicnn", 3, 2)])
def test_a_teacher_equals_the_published_network(file: Path, network: str, seconds: int, count: int) -> None:
    audio = 0.1 * torch.randn(count * seconds * 16000, generator=torch.Generator().manual_seed(2))
    audio *= torch.linspace(0.1, 2.0, len(audio))
    (teacher,) = load_teachers(file, (f"mtat-{network}",))
    found = teacher.predict(audio)
    published = published_network(network, file)
    expected, other = published(audio.reshape(count, -1)), published(audio.flip(0).reshape(count, -1))
    assert teacher.tags == TAGS
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (other - expected).abs().max() > 1e-3  # the prediction depends on the audio
    rounded = load_teachers(file, (f"mtat-{network}",), torch.bfloat16)[0].predict(audio)
    assert 0 < (rounded - expected).abs().max() < 0.02


def test_outputs_whose_published_names_are_not_in_order_are_sorted(file: Path) -> None:
    """The file holds one network twice, with the outputs exchanged."""
    ours, theirs = load_teachers(file, ("mtat-fcn", "jamendo-fcn"))
    audio = 0.1 * torch.randn(29 * 16000, generator=torch.Generator().manual_seed(2))
    expected, found = ours.predict(audio)[0], theirs.predict(audio)[0]
    named = {name.removeprefix("instrument---"): value for name, value in zip(theirs.tags, found, strict=True)}
    torch.testing.assert_close(torch.stack([named[tag] for tag in TAGS]), expected, rtol=0, atol=1e-5)
    assert expected.sort().values.diff().min() > 1e-3, "an exchange would be seen"


def test_short_audio_is_repeated_and_a_remainder_ignored(file: Path) -> None:
    (teacher,) = load_teachers(file, ("mtat-musicnn",))
    second = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(3))
    found = teacher.predict(second)
    torch.testing.assert_close(found, teacher.predict(second.repeat(3)))
    torch.testing.assert_close(found, teacher.predict(torch.cat([second.repeat(3), torch.ones(47999)])))


def test_a_teacher_that_is_missing_is_named_with_those_that_exist(file: Path) -> None:
    with pytest.raises(ManifestError, match=r"no teacher 'msd-fcn'; it has jamendo-fcn, mtat-crnn, mtat-fcn"):
        load_teachers(file, ("msd-fcn",))


def test_a_file_that_holds_no_teachers_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(ManifestError, match="not a file of teachers"):
        load_teachers(path, ("mtat-fcn",))
