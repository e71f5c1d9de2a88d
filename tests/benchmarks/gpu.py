"""Everything that only a GPU can show, by one command and in at most seven minutes.

    python tests/benchmarks/gpu.py --out RESULTS

in a checkout, on a machine with Python 3.11 or later, torch with CUDA, numpy, scipy, safetensors, pytest and one GPU.
kymatio may be a wheel: any `kymatio-*.whl` in the checkout's root or its folder `.whl` is used as it is (get it with
`pip download --no-deps kymatio==0.3.0`). Nothing else is needed, and nothing is installed.

To train on real music bring `features.pack` in the checkout's root, or name it with --pack FILE: it is made by
`python -m trainer prepare DIR --pack features.pack`, at most 40 MB. Without it the run trains on random features.

Each part runs in a process of its own with a time limit. RESULTS/results.jsonl gets each result as soon as it is known,
so a run that is stopped still reports; RESULTS/table.txt and standard output get all of them at the end, RESULTS/
model.safetensors is the trained model. Exit code 0: every part is complete, and no test failed or was skipped.

--dry-run does all of it in miniature, within a minute, on the CPU if there is no GPU. Tests that need a GPU are then
skipped, and reported as skipped. --only PART[,PART] runs some of the parts.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.gpu_parts.report import PROBLEM, Report, has_succeeded, read, table  # noqa: E402
from tests.benchmarks.gpu_parts.settings import Settings  # noqa: E402

TOTAL_S = 420.0
KILL_AFTER_S = 3.0  # between asking a part to end and killing it
DEFAULT_PACK = ROOT / "features.pack"
TRAINING_S = 50.0
TRAINING_END_S = 25.0  # of its limit, for its start, the last epoch and the model


@dataclass(frozen=True)
class Part:
    """limit_s: after which it is stopped; dry_limit_s: in a dry run."""

    title: str
    limit_s: float
    dry_limit_s: float = 60.0


PARTS = {
    "machine": Part("the machine", 30.0),
    "tests": Part("tests on the GPU", 100.0),
    "streams": Part("live streams", 150.0),
    "front-end": Part("front end", 40.0),
    "speed": Part("speed of training", 80.0),
    "training": Part("a training run", 90.0),
}


class StoppedError(Exception):
    """A signal asks the run to end."""


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, or one of them in this process, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the results")
    parser.add_argument("--pack", type=Path, help="packed features to train on")
    parser.add_argument("--seconds", type=float, help=f"of the training run ({TRAINING_S:g})")
    parser.add_argument("--dry-run", action="store_true", help="everything in miniature")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only {unknown[0]}: not one of {', '.join(PARTS)}")
    pack = options.pack or (DEFAULT_PACK if DEFAULT_PACK.exists() else None)
    seconds = options.seconds or (2.0 if options.dry_run else TRAINING_S)
    settings = Settings(options.out.resolve(), pack and pack.resolve(), seconds, options.dry_run)
    if options.part:
        return run_part(options.part, settings)
    settings.out.mkdir(parents=True, exist_ok=True)
    return run_all(names, settings)


def run_all(names: list[str], settings: Settings) -> int:
    """Run each part in a process, print the table and return the exit code, however the run ends."""
    results = settings.out / "results.jsonl"
    results.unlink(missing_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, _stop)
    until = time.monotonic() + TOTAL_S
    name = names[0]
    try:
        for name in names:
            print(f"{PARTS[name].title} ...", file=sys.stderr, flush=True)
            limit_s = PARTS[name].dry_limit_s if settings.is_dry else PARTS[name].limit_s
            problem = run_process(name, settings, min(limit_s, until - time.monotonic()))
            if problem:
                Report(results, name).write("stopped", **{PROBLEM: problem})
    except StoppedError as stopped:
        Report(results, name).write("stopped", **{PROBLEM: str(stopped)})
    found = read(results)
    text = table(found)
    (settings.out / "table.txt").write_text(f"{text}\n", encoding="utf-8")
    print(text, flush=True)
    return 0 if has_succeeded(found, names) else 1


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise StoppedError(f"the run was stopped by {signal.Signals(number).name}")


def run_process(name: str, settings: Settings, limit_s: float) -> str | None:
    """Run a part in a process group of its own, and return what went wrong, or None."""
    if limit_s <= 0:
        return "there was no time left"
    seconds = min(settings.seconds, max(1.0, limit_s - TRAINING_END_S))  # a model that comes late is none
    command = [sys.executable, __file__, "--part", name, "--out", str(settings.out), "--seconds", str(seconds)]
    command += ["--dry-run"] if settings.is_dry else []
    command += ["--pack", str(settings.pack)] if settings.pack else []
    process = subprocess.Popen(command, env=_environment(settings), stdout=sys.stderr, start_new_session=True)
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"did not end within its limit of {limit_s:.0f} s"
    finally:
        _end(process)
    return f"ended with exit code {code}" if code else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part and all processes that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            continue


def _environment(settings: Settings) -> Mapping[str, str]:
    wheels = sorted(str(path) for folder in (ROOT, ROOT / ".whl") for path in folder.glob("kymatio-*.whl"))
    paths = [str(ROOT), *wheels, *filter(None, [os.environ.get("PYTHONPATH")])]
    required = {} if settings.is_dry else {"STREAMTAG_REQUIRE": "cuda"}  # a test that is skipped has shown nothing
    return {**os.environ, **required, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def run_part(name: str, settings: Settings) -> int:
    """Run one part in this process."""
    report = Report(settings.out / "results.jsonl", name)
    if name == "machine":
        return _describe_machine(report, settings)
    if name == "tests":
        from tests.benchmarks.gpu_parts import checks

        checks.run(report, settings)
    elif name == "streams":
        from tests.benchmarks.gpu_parts import streams

        streams.run(report, settings)
    elif name == "front-end":
        from tests.benchmarks.gpu_parts import front_end

        front_end.run(report, settings)
    else:
        from tests.benchmarks.gpu_parts import training

        (training.measure_speed if name == "speed" else training.train)(report, settings)
    return 0


def _describe_machine(report: Report, settings: Settings) -> int:
    import torch

    report.write("versions", python=platform.python_version(), torch=torch.__version__, cores=os.cpu_count())
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        cudnn, cuda = torch.backends.cudnn.version(), torch.version.cuda  # type: ignore[no-untyped-call]
        report.write("card", card=card.name, memory_gib=card.total_memory / 2**30, cuda=cuda, cudnn=cudnn)
    elif settings.is_dry:
        report.write("card", card="none: a dry run on the CPU")
    else:
        report.write("card", **{PROBLEM: "this torch finds no GPU: --dry-run does without one"})
    report.write("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
