"""Files tagged on a Ray cluster: shards of files go to actors, one per core or one per GPU.

Files and the model must be at the same paths on every machine. An actor that dies is restarted, and its shard tagged
again. A shard comes back whole or not at all, so no file is there twice.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from streamtag.audio.source import Closing
from streamtag.audio.threaded import ThreadedIterator
from streamtag.catalog.actor import Actor, AttemptCounter, Job
from streamtag.catalog.file_task import OnProgress, TaskResult
from streamtag.catalog.files import AudioFile
from streamtag.catalog.runner import POLL_INTERVAL_S, largest_first
from streamtag.errors import DeviceError, StreamtagError
from streamtag.text import describe_os_error

MAX_SHARD_FILES = 128  # what the death of an actor costs
MAX_WAITING_SHARDS = 64  # whose results wait for the journal
MIN_SHARDS_PER_ACTOR = 4  # if there are enough files: faster actors get more of them
CONNECT_TIMEOUT_S = 5.0
JOIN_TIMEOUT_S = 5.0
LOCAL_STORE_BYTES = 1 << 28  # shared memory for the results of a Ray of this machine only
ENVIRONMENT = {  # read when Ray is imported: no usage reports, and few messages
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else what still runs during the shutdown would start another Ray
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
LOCAL_ENVIRONMENT = {  # of a Ray of this machine only
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too: it listens to 127.0.0.1 only
    "RAY_AUTH_MODE": "token",
}


class Cluster(Closing):
    """A connection to a Ray cluster, or to one of its own that ends with it. A Runner that is used once."""

    def __init__(self, address: str | None, actors: int | None, job: Job, on_progress: OnProgress) -> None:
        """address: for ray.init; None: a new Ray on this machine only, which no other machine can reach.

        actors: None: as many as the cluster has cores, or GPUs if job.device asks for them.
        Raises DeviceError if Ray is missing, cannot be reached, or lacks what is needed.
        """
        if importlib.util.find_spec("ray") is None:
            raise DeviceError("--ray needs Ray: pip install 'streamtag[ray]'")
        self._on_progress = on_progress
        self._answers: ThreadedIterator[list[TaskResult]] | None = None
        with ExitStack() as resources:
            available = _connect(address, actors, resources)
            on_gpu = job.device == "cuda" or (job.device == "auto" and available.get("GPU", 0.0) >= 1)
            self._job = replace(job, device="cuda" if on_gpu else "cpu")
            count = int(available.get("GPU" if on_gpu else "CPU", 0.0))
            if count < 1:
                raise DeviceError(f"ray: the cluster has no {'GPU' if on_gpu else 'CPU'}")
            self._actors = min(actors or count, count)
            self._resources = resources.pop_all()

    def run(self, files: Sequence[AudioFile]) -> Iterator[TaskResult | None]:
        """Yield the results; None regularly. Raises DeviceError if the cluster fails."""
        actors = _run_actors(make_shards(files, self._actors), self._job, self._actors)
        answers = self._answers = ThreadedIterator(actors, MAX_WAITING_SHARDS, "streamtag-ray", JOIN_TIMEOUT_S)
        while not answers.has_ended:
            shard = answers.get(POLL_INTERVAL_S)
            if shard is None:
                yield None
            for item in shard or ():
                self._on_progress(item[0].seconds, item[0].size)
                yield item
        if answers.error is not None:
            raise DeviceError(f"ray: {_reason(answers.error)}")

    def close(self) -> None:
        """End the actors, and the cluster if it is its own."""
        self._resources.close()
        if self._answers is not None:
            self._answers.close()


def _connect(address: str | None, cores: int | None, resources: ExitStack) -> dict[str, float]:
    """Connect to a cluster, or start one with so many cores. Returns what it has, by name."""
    if address is not None:
        _check_reachable(address)
    else:
        os.environ.update(LOCAL_ENVIRONMENT, RAY_AUTH_TOKEN=secrets.token_hex(32))
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error"}
    if address is None:
        folder = tempfile.TemporaryDirectory(prefix="st-ray-", ignore_cleanup_errors=True)
        options |= {
            "address": "local",
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": resources.enter_context(folder),
            "object_store_memory": LOCAL_STORE_BYTES,
            "num_cpus": cores,
        }
    resources.callback(ray.shutdown)
    try:
        with _silent_stderr():
            ray.init(**options)
        available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, ...: depends on the address
        raise DeviceError(f"ray: {_reason(error)}") from None
    return available


def _check_reachable(address: str) -> None:
    """Raise DeviceError if nobody answers: Ray itself would try for half a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return  # "auto": Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise DeviceError(f"ray: {address}: nobody answers there: {describe_os_error(error)}") from None


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what Ray's processes and its C++ code print while they start. Errors come as exceptions."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _run_actors(
    shards: Sequence[Sequence[AudioFile]], job: Job, actors: int
) -> Generator[list[TaskResult], None, None]:
    """Yield what the actors answer, in any order."""
    import ray
    from ray.util import ActorPool

    on_gpu = job.device == "cuda"
    lasting: dict[str, Any] = {"max_restarts": -1, "max_task_retries": -1}
    device: dict[str, Any] = {"num_cpus": 0, "num_gpus": 1} if on_gpu else {"num_cpus": 1}
    attempts = ray.remote(AttemptCounter).options(num_cpus=0, **lasting).remote()
    actor = ray.remote(Actor).options(**lasting, **device)
    pool = ActorPool([actor.remote(job, attempts) for _ in range(min(actors, len(shards)))])
    yield from pool.map_unordered(lambda each, shard: each.tag.remote(shard), list(shards))


def make_shards(files: Sequence[AudioFile], actors: int) -> list[list[AudioFile]]:
    """Return shards of similar size: at most MAX_SHARD_FILES each, MIN_SHARDS_PER_ACTOR if there are enough files."""
    count = min(len(files), max(MIN_SHARDS_PER_ACTOR * actors, -(-len(files) // MAX_SHARD_FILES)))
    ordered = largest_first(files)
    return [ordered[first::count] for first in range(count)]


def _reason(error: Exception) -> str:
    """Return the last line of the cause that says something: Ray's errors are long."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, StreamtagError):
        return str(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__
