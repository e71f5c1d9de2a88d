"""How the CPU time of a trial divides among the parts of the work."""

from __future__ import annotations

from streamtag.cli.bench.measure import Figures
from streamtag.cli.bench.streams.process import THREAD
from streamtag.cli.bench.streams.tally import Trial
from streamtag.cli.parallelism import ParallelismPlan

CPU = "cpu_percent_of_a_core"


def shares(trial: Trial, parts: Figures, hop_s: float, workforce: ParallelismPlan, loops: int) -> Figures:
    """Percent of the CPU time of the process that did the work and of its worker processes, producers not counted.

    scattering, gru: their time by itself for so many hops. rest_of_the_workers: what else the engine's threads and
    processes did: ingest, messages, choosing streams. sockets: the rest. loops: event loops in the trial; beside
    worker processes they are taken to be the threads that worked most, where there are none the engine's threads are.
    parts: as timed at about this size of batch.
    """
    threads = sorted((value for name, value in trial.more.items() if name.startswith(THREAD)), reverse=True)
    if not trial.more.get(CPU, 0) > 0 or not threads:
        return {"not_measured": "this system does not tell the CPU time of threads"}
    a_hop = hop_s / trial.streams  # s between two hops
    total = trial.more[CPU] / 100
    sockets = sum(threads[:loops] if workforce.processes else threads[workforce.threads :]) / 100
    scattering, gru = 1e-3 * parts["scattering_ms_a_hop"] / a_hop, 1e-3 * parts["gru_ms_a_hop"] / a_hop
    return {
        "cpu_ms_a_hop": 1e3 * total * a_hop,
        "scattering_percent": 100 * scattering / total,
        "gru_percent": 100 * gru / total,
        "rest_of_the_workers_percent": 100 * (total - sockets - scattering - gru) / total,
        "sockets_percent": 100 * sockets / total,
    }
