"""The same work on a Ray cluster: Ray Data hands parcels of files to actors, one a core or one a GPU.

Files and the model must lie at the same paths on every machine. An actor that dies is started again, and its parcel
heard again; a parcel comes back whole or not at all, so nothing is there twice.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.source import Closing
from streamtag.catalog.actor import Actor, Attempts, Job, packed
from streamtag.catalog.file_task import OnProgress, TaskResult
from streamtag.catalog.files import AudioFile
from streamtag.catalog.result import FileResult
from streamtag.catalog.runner import WAIT_S, largest_first
from streamtag.errors import DeviceError, StreamtagError
from streamtag.text import describe_os_error

PARCEL = 128  # files at most: what one actor is given, and what its death costs
PARCELS = 4  # for each actor at least, if there are files enough: whoever is quicker gets more
QUIET = {  # read when Ray is imported: it tells nobody anything, and its users no more than they need
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else what still runs when it is shut down would start another
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
ANSWER_S = 5.0  # s
ALONE = {  # of a Ray of this machine alone
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too: only 127.0.0.1 is listened to
    "RAY_AUTH_MODE": "token",
}
LOCAL_STORE = 1 << 28  # bytes of shared memory for results, of a Ray of this machine alone


class Cluster(Closing):
    """Connected to a Ray cluster, or to one of its own that ends with it. Used once."""

    def __init__(self, address: str | None, size: int | None, job: Job, moved: OnProgress) -> None:
        """address: as ray.init takes it; None: a new Ray on this machine alone, which nobody else can reach.

        size: actors; None: as many as the cluster has cores, or GPUs if they are what job.device asks for.
        Raises DeviceError if Ray is missing, cannot be reached, or has not what is needed.
        """
        if importlib.util.find_spec("ray") is None:
            raise DeviceError("--ray needs Ray: pip install 'streamtag[ray]'")
        self._moved = moved
        self._results: queue.Queue[TaskResult | Exception | None] = queue.Queue()
        self._stopped = False
        self._thread: threading.Thread | None = None
        with ExitStack() as resources:
            there = _connected(address, size, resources)
            gpu = job.device == "cuda" or (job.device == "auto" and there.get("GPU", 0.0) >= 1)
            self._job = replace(job, device="cuda" if gpu else "cpu")
            count = int(there.get("GPU" if gpu else "CPU", 0.0))
            if count < 1:
                raise DeviceError(f"ray: the cluster has no {'GPU' if gpu else 'CPU'}")
            self.size = min(size or count, count)
            self._resources = resources.pop_all()

    def hear(self, sounds: Sequence[AudioFile]) -> Iterator[TaskResult | None]:
        """What each came to, as it is there; None now and then, so that the taker can look after other things."""
        parcels = [packed(parcel) for parcel in parcels_of(sounds, self.size)]
        self._thread = threading.Thread(target=self._run, args=(parcels,), name="streamtag-ray", daemon=True)
        self._thread.start()
        while True:
            try:
                result = self._results.get(timeout=WAIT_S)
            except queue.Empty:
                yield None
                continue
            if result is None:
                return
            if isinstance(result, Exception):
                raise result
            self._moved(result[0].seconds, result[0].size)
            yield result

    def close(self) -> None:
        """Ends the actors, and the cluster if it is its own."""
        self._stopped = True
        self._resources.close()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self, parcels: Sequence[str]) -> None:
        end: Exception | None = None
        try:
            for batch in _dataset(parcels, self._job, self.size):
                for line, frames in zip(batch["entries"], batch["frames"], strict=True):
                    entry = FileResult.of_json(str(line))
                    self._results.put((entry, _unpacked(entry, bytes(frames)) if self._job.keep_frames else None))
        except Exception as error:
            end = None if self._stopped else DeviceError(f"ray: {_reason(error)}")
        self._results.put(end)


def _connected(address: str | None, size: int | None, resources: ExitStack) -> dict[str, float]:
    """-> what the cluster has."""
    if address is not None:
        _check_there(address)
    else:
        os.environ.update(ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        quiet |= {
            "address": "local",
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": resources.enter_context(
                tempfile.TemporaryDirectory(prefix="st-ray-", ignore_cleanup_errors=True)
            ),
            "object_store_memory": LOCAL_STORE,
            "num_cpus": size,
        }
    else:
        quiet["address"] = address
    resources.callback(ray.shutdown)
    try:
        with _hushed():
            ray.init(**quiet)
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, ...: whatever the address was
        raise DeviceError(f"ray: {_reason(error)}") from None
    return there


def _check_there(address: str) -> None:
    """Raises DeviceError if nobody answers: Ray itself would try for half a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return  # "auto": Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        reason = describe_os_error(error)
        raise DeviceError(f"ray: {address}: nobody answers there: {reason}") from None


@contextmanager
def _hushed() -> Iterator[None]:
    """What Ray's own processes and its C++ print while they start goes nowhere; errors come as exceptions."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _dataset(parcels: Sequence[str], job: Job, size: int) -> Iterator[dict[str, Any]]:
    """What the actors answer."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    items = ray.data.from_items([{"parcel": parcel} for parcel in parcels], override_num_blocks=len(parcels))
    attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
    gpu = job.device == "cuda"
    answers = items.map_batches(
        Actor,
        fn_constructor_args=(job, attempts),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(size, len(parcels))),
        num_cpus=None if gpu else 1,
        num_gpus=1 if gpu else None,
    )
    return iter(answers.iter_batches(batch_size=None, prefetch_batches=0))


def parcels_of(sounds: Sequence[AudioFile], actors: int) -> list[list[AudioFile]]:
    """Alike in size, none larger than PARCEL, and PARCELS for each actor where there are sounds enough."""
    count = min(len(sounds), max(PARCELS * actors, -(-len(sounds) // PARCEL)))
    ordered = largest_first(sounds)
    return [ordered[first::count] for first in range(count)]


def _unpacked(entry: FileResult, data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, np.float32).reshape(entry.frames, -1 if entry.frames else 0)


def _reason(error: Exception) -> str:
    """The last line that says something: Ray's errors hold whole stories."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, StreamtagError):
        return str(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__
