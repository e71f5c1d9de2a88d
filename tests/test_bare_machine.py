"""What runs on a machine with a GPU and little else needs torch, numpy, scipy, safetensors and kymatio alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("streamtag.model", "streamtag.inference", "streamtag.scheduler", "trainer.train", "trainer.systems")
MODULES = (
    *("trainer.run", "trainer.targets", "trainer.data.manifest", "trainer.features.frontends"),
    *("trainer.features.cache", "trainer.features.frontends", "trainer.evaluate.metrics", "trainer.bench.training"),
    *(f"tests.benchmarks.gpu_parts.{name}" for name in ("checks", "front_end", "streams", "training")),
    *("tests.benchmarks.gpu", "tests.device.conftest"),
)
# By the names under which they are imported: all that the project, its extras and its other tests depend on.
MISSING = (
    *("av", "soxr", "sounddevice", "pyarrow", "websockets", "prometheus_client", "matplotlib", "rich", "typer"),
    *("filelock", "httpx", "markdown_it", "nnAudio", "sklearn", "tensorboard", "pandas", "pythonosc", "ray", "duckdb"),
    *("hypothesis", "playwright", "xdist", "appdirs", "aiomqtt"),
)
PROGRAM = """
import importlib, pkgutil, sys

packages, modules, missing = (part.split() for part in sys.argv[1:])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not here", name=name)

sys.meta_path.insert(0, Absent())
for package in map(importlib.import_module, packages):
    modules += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
for name in modules:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if error.name != "triton":  # torch brings it where it was built for GPUs
            print(f"{name}: {error}")
print(len(modules), "imported")
"""


def import_all(packages: tuple[str, ...], modules: tuple[str, ...]) -> list[str]:
    """Import them in a process of its own in which MISSING cannot be imported; return what it prints."""
    arguments = [" ".join(part) for part in (packages, modules, MISSING)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.splitlines()


def test_the_network_the_scheduler_and_training_import_without_the_rest() -> None:
    *problems, last = import_all(PACKAGES, MODULES)
    assert problems == []
    assert int(last.split()[0]) > 50


def test_a_missing_package_is_noticed() -> None:
    """The control: this module does need one of them."""
    assert import_all((), ("streamtag.audio.decoder",))[0].startswith("streamtag.audio.decoder: av")
