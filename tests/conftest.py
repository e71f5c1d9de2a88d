"""What tests need of the machine: where it is missing they are skipped, or fail if they must not be.

STREAMTAG_REQUIRE names, separated by commas, what must be there, so that no check is skipped unseen where all
of them are meant to run: STREAMTAG_REQUIRE=checks,fluidsynth pytest
"""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from streamtag.core import Normalization, Scattering, ScatteringSpec, StackedGRU, Tagger
from streamtag.core.model_file import save_tagger
from streamtag.spec import NetworkSpec, NormalizationSpec

if TYPE_CHECKING:
    from tests.live.virtual_microphone import VirtualMicrophone

# A shell's background job starts with SIGINT ignored, and so would every process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)

Need = Callable[[str, bool, str], None]
TAGS = (*(f"tag {index:02d}" for index in range(48)), "guitar", "male vocal")


@pytest.fixture(scope="session")
def need() -> Need:
    """need(name, ok, reason): goes on if ok; skips with the reason if not, or fails if `name` is required."""

    def need(name: str, ok: bool, reason: str) -> None:
        if ok:
            return
        if name in (required.strip() for required in os.environ.get("STREAMTAG_REQUIRE", "").split(",")):
            pytest.fail(f"STREAMTAG_REQUIRE names {name}, but this {reason}")
        pytest.skip(reason)

    return need


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file: everything of the real thing, but one small GRU layer that was never trained."""
    torch.manual_seed(20)
    front, network = ScatteringSpec(), NetworkSpec(hidden=16, layers=1)
    head = torch.nn.Linear(network.hidden, len(TAGS))
    with torch.no_grad():
        head.weight *= 8  # so that tags differ, and go on and off
    card = {"name": "small", "licence": "none", "scores": {"all": {"roc_auc": 0.5}}}
    tagger = Tagger(
        Scattering(front),
        Normalization(NormalizationSpec(), front),
        StackedGRU(network),
        head,
        TAGS,
        (0.5,) * len(TAGS),
        card,
    )
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_tagger(tagger, path)
    return path


@pytest.fixture(scope="session")
def virtual_microphone(need: Need) -> Iterator[VirtualMicrophone]:
    """A sound server with a microphone that hears what is played into it; for processes started with its env."""
    with _virtual_microphone(need) as microphone:
        yield microphone


@pytest.fixture
def own_microphone(need: Need) -> Iterator[VirtualMicrophone]:
    """The same for one test alone, which may stop it and start it again."""
    with _virtual_microphone(need) as microphone:
        yield microphone


@contextmanager
def _virtual_microphone(need: Need) -> Iterator[VirtualMicrophone]:
    path = Path(__file__).parent / "live" / "virtual_microphone.py"
    spec = importlib.util.spec_from_file_location("virtual_microphone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)  # tests are no package that could be imported from
    spec.loader.exec_module(module)
    need("audio", module.is_there(), module.WHAT_IS_MISSING)
    with tempfile.TemporaryDirectory(prefix="vmic-") as folder:
        microphone: VirtualMicrophone = module.VirtualMicrophone(Path(folder))
        microphone.start()
        try:
            yield microphone
        finally:
            microphone.stop()
