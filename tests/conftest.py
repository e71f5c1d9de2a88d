"""What tests need of the machine: where it is missing they are skipped, or fail if they must not be.

STREAMTAG_REQUIRE names, separated by commas, what must be there, so that no check is skipped unseen where all
of them are meant to run: STREAMTAG_REQUIRE=checks,fluidsynth pytest

Fixtures import what is slow to load when they run: the process that only distributes tests loads this file too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamtag.spec import ConceptSpec, NetworkSpec, NormalizationSpec
from tests.audio.virtual_microphone import WHAT_IS_MISSING, VirtualMicrophone, is_there
from tests.sounds import Encode, Tone, encode_sound, make_tone

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamtag.api import Tagger
    from streamtag.inference.frame import TagFrame
    from streamtag.inference.timeline import Timeline
    from streamtag.protocol.messages import Frame
    from streamtag.protocol.selection import Selection

# A shell's background job starts with SIGINT ignored, and so would every process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)

# Test processes share the cores: torch's threads would wait for one another busily, here and in started processes
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Without bytecode files each of the many processes that tests start compiles the packages again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

Need = Callable[[str, bool, str], None]
LimitFileSize = Callable[[int | None], None]
FillOnce = Callable[[str, Callable[[Path], object]], Path]
TAGS = (*(f"tag {index:02d}" for index in range(48)), "guitar", "male vocal")
CONCEPTS = (  # of a model with 50 tags: most are in none
    ConceptSpec("guitar", "instrument", ("guitar",), 1.2, 0.3, 0.5),
    ConceptSpec("male vocals", "voice", ("male vocal", "tag 03"), 0.8, -0.5, 0.6),
    ConceptSpec("rare", "mood", ("tag 04", "tag 05", "tag 06"), threshold=None),
)


def pytest_configure() -> None:
    """Let examples of hypothesis take as long as they need: a busy machine is no failure."""
    from hypothesis import settings

    settings.register_profile("streamtag", deadline=None)
    settings.load_profile("streamtag")


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
    return save_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture(scope="session")
def tagger(model: Path) -> Tagger:
    """That model, on the CPU."""
    from streamtag.api import load

    return load(model, "cpu")


@pytest.fixture(scope="session")
def concept_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with CONCEPTS."""
    return save_model(tmp_path_factory.mktemp("model") / "concepts.safetensors", CONCEPTS)


def save_model(path: Path, concepts: Sequence[ConceptSpec] | None = None) -> Path:
    """Write that model, with these concepts, and return its path."""
    import torch

    from streamtag.model import Normalization, Scattering, ScatteringSpec, StackedGRU, TaggerNetwork
    from streamtag.model.model_file import save_tagger

    torch.manual_seed(20)
    front, network = ScatteringSpec(), NetworkSpec(hidden=16, layers=1)
    head = torch.nn.Linear(network.hidden, len(TAGS))
    with torch.no_grad():
        head.weight *= 8  # so that tags differ, and go on and off
    card = {"name": "small", "licence": "none", "scores": {"all": {"roc_auc": 0.5}}}
    tagger = TaggerNetwork(
        Scattering(front),
        Normalization(NormalizationSpec(), front),
        StackedGRU(network),
        head,
        TAGS,
        (0.5,) * len(TAGS),
        card,
        concepts,
    )
    save_tagger(tagger, path)
    return path


@pytest.fixture
def limit_file_size() -> Iterator[LimitFileSize]:
    """Return a function that makes the disk full beyond this many bytes of any file (None: no longer)."""
    resource = pytest.importorskip("resource", reason="needs limits of the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)


@pytest.fixture(scope="session")
def fill_once(tmp_path_factory: pytest.TempPathFactory) -> FillOnce:
    """(name, fill) -> a folder that fill(folder) has filled for all processes of this run."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def fill_once(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                fill(folder)
                done.touch()
        return folder

    return fill_once


@pytest.fixture(scope="session")
def certificates(need: Need, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for 127.0.0.1, its key, the same key encrypted, and another's key."""
    openssl = shutil.which("openssl")
    need("openssl", openssl is not None, "machine has no openssl")
    folder = tmp_path_factory.mktemp("tls")
    files = {name: folder / f"{name}.pem" for name in ("cert", "key", "locked", "other", "both")}

    def run(*arguments: str | Path) -> None:
        subprocess.run([str(openssl), *arguments], check=True, capture_output=True, timeout=60)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    name = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    for key, cert in ((files["key"], files["cert"]), (files["other"], folder / "unused.pem")):
        run("req", "-x509", *curve, "-nodes", *name, "-keyout", key, "-out", cert)
    run("ec", "-in", files["key"], "-aes256", "-passout", "pass:secret", "-out", files["locked"])
    files["both"].write_bytes(files["cert"].read_bytes() + files["key"].read_bytes())
    return files


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
    need("audio", is_there(), WHAT_IS_MISSING)
    with tempfile.TemporaryDirectory(prefix="vmic-") as folder:
        microphone = VirtualMicrophone(Path(folder))
        microphone.start()
        try:
            yield microphone
        finally:
            microphone.stop()


@pytest.fixture(scope="session")
def encode() -> Encode:
    return encode_sound


@pytest.fixture(scope="session")
def tone() -> Tone:
    return make_tone


SIX_TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
MakeTimeline = Callable[..., "Timeline"]


def _frames(probs: NDArray[np.float64]) -> list[TagFrame]:
    import numpy as np

    from streamtag.inference.frame import TagFrame

    return [TagFrame(k, 0.256 * k - 0.256, 0.256 * k + 0.256, row.astype(np.float32)) for k, row in enumerate(probs)]


@pytest.fixture
def frames(probs: NDArray[np.float64]) -> list[Frame]:
    """The messages of 40 frames of song.mp3 with the values of `probs`."""
    from streamtag.protocol.messages import Frame

    return [
        Frame("song.mp3", frame.index, frame.start, frame.end, dict(zip(SIX_TAGS, frame.probs.tolist(), strict=True)))
        for frame in _frames(probs)
    ]


@pytest.fixture
def make_timeline() -> MakeTimeline:
    """probs [F, P] -> a timeline of its frames."""
    from streamtag.inference.timeline import Timeline

    def make(probs: NDArray[np.float64], name: str = "song.mp3", seconds: float | None = None) -> Timeline:
        timeline = Timeline(name, SIX_TAGS[: probs.shape[1]])
        for frame in _frames(probs):
            timeline.add(frame)
        timeline.seconds = 0.256 * len(probs) if seconds is None else seconds
        return timeline

    return make


@pytest.fixture
def selection() -> Selection:
    """All six tags, thresholds 0.5 but for harp, which is rare: 0.1."""
    from streamtag.protocol.selection import Selection

    return Selection.of(SIX_TAGS, (0.5, 0.5, 0.5, 0.5, 0.5, 0.1))


@pytest.fixture
def probs() -> NDArray[np.float64]:
    """[40, 6]: guitar grows, drums end half way, the rest is weak, harp just above its threshold."""
    import numpy as np

    values = np.full((40, 6), 0.05)
    values[:, 0] = np.linspace(0.2, 0.98, 40)
    values[:20, 2] = 0.9
    values[:, 5] = 0.12
    values[30, 5] = 0.3
    return values
