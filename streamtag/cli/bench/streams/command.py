"""The command: a search each for the engine alone, over sockets, and with a process a stream; and what follows."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from streamtag.api import Tagger, load
from streamtag.cli.bench.measure import Figures, machine, one_thread, say, show
from streamtag.cli.bench.streams.alone import engine_trial
from streamtag.cli.bench.streams.footprint import kib_a_stream
from streamtag.cli.bench.streams.pace import Pace
from streamtag.cli.bench.streams.parts import parts
from streamtag.cli.bench.streams.peers import Peers
from streamtag.cli.bench.streams.pooled import pool_trial
from streamtag.cli.bench.streams.process import THREAD
from streamtag.cli.bench.streams.search import Found, search
from streamtag.cli.bench.streams.shares import shares
from streamtag.cli.bench.streams.sizing import Sizing
from streamtag.cli.bench.streams.sockets import socket_trial
from streamtag.cli.bench.streams.tally import DEADLINE_S, Trial
from streamtag.cli.parallelism import ParallelismPlan
from streamtag.text import usable_cores

FIRST, FIRST_ON_A_GPU, FIRST_PEERS = 64, 1024, 16  # streams of the first trial
MOST = 1 << 16  # streams: no machine that this was made for holds more
STEPS = 20  # trials that a search has time for, about
ENGINE, POOL, SOCKETS, PEERS = "engine alone", "pool alone", "over sockets", "a process of listen for every stream"


def run(*, as_json: bool, model: Path | None, device: str, seconds: float, precision: str = "float32") -> int:
    """Measures and prints; progress goes to stderr. seconds: measured, each trial. precision: of the engine's
    products; processes of listen know only float32. -> the exit code."""
    tagger = load(model, device)
    gpu = tagger.device != "cpu"
    workforce = ParallelismPlan.of(tagger.device)
    pace = Pace(tagger.network.spec.hop_s, tagger.network.spec.lookahead_s, seconds=seconds)
    with one_thread(), ended_well():
        found = searches(tagger, pace, workforce, gpu, precision)
        results: dict[str, Figures] = {name: figures(each) for name, each in found.items()}
        results |= conclusions(tagger, pace, workforce, found, precision)
        work = {"worker_processes": workforce.processes or 0, "engine_threads": workforce.threads}
        results["machine"] = {"cores": usable_cores(), **work, "precision": precision, **machine(tagger.device)}
    if not gpu:
        results["on a GPU"] = {"not_measured": "there is none in use here: --device cuda"}
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        for name, section in results.items():
            show(name, {key: "; ".join(value) if isinstance(value, list) else value for key, value in section.items()})
    return 0


@contextmanager
def ended_well() -> Iterator[None]:
    """What ends this process ends those that it started, too."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def searches(tagger: Tagger, pace: Pace, workforce: ParallelismPlan, gpu: bool, precision: str) -> dict[str, Found]:
    """All that are made on such a device, by name."""
    limit = STEPS * pace.end_s
    first = FIRST_ON_A_GPU if gpu else FIRST
    found: dict[str, Found] = {}

    def look(name: str, trial: Callable[[int], Trial], first: int, most: int, limit_s: float) -> int:
        say(f"{name}: every stream with music, {pace.seconds:g} s a trial ...")
        found[name] = search(_told(name, trial), first, most, limit_s)
        return found[name].streams

    if gpu:
        by_hops = replace(pace, chunk_s=pace.hop_s)
        look(POOL, partial(pool_trial, tagger, by_hops, workers=1, precision=precision), first, MOST, limit)
    alone = partial(engine_trial, tagger, pace, workforce=workforce, precision=precision)
    held = look(ENGINE, alone, first, MOST, limit)
    over = partial(socket_trial, tagger.path, tagger.device, pace, precision=precision)
    look(SOCKETS, over, max(1, held // 4), MOST, 2 * limit)
    with Peers(pace, tagger.path, tagger.device) as peers:
        look(PEERS, peers.trial, FIRST_PEERS, peers.most(), 2 * limit)
    return found


def figures(found: Found) -> Figures:
    """Of the largest number that held."""
    trials = [trial.about for trial in found.trials]
    if found.best is None:
        return {"streams": 0, "trials": trials}
    best = {name: value for name, value in found.best.figures().items() if not name.startswith(THREAD)}
    if (idle := best.pop("idle_percent_of_a_core", None)) is not None:  # this machine may not have been ours alone
        ours = best["cpu_percent_of_a_core"] + best["clients_cpu_percent_of_a_core"]
        best["other_programs_percent_of_a_core"] = max(0.0, 100.0 * usable_cores() - idle - ours)
    return {"streams": found.streams, "bound": found.about, **best, "trials": trials}


def conclusions(
    tagger: Tagger, pace: Pace, workforce: ParallelismPlan, found: dict[str, Found], precision: str
) -> dict[str, Figures]:
    """Ratios, shares and sizes, from what was found."""
    results: dict[str, Figures] = {
        "rule": {
            "held": f"no frame lost, p99 of hop ready to message under {1e3 * DEADLINE_S:g} ms",
            "fed": f"16-bit mono at {pace.rate} Hz in chunks of {1e3 * pace.chunk_s:g} ms, by the clock",
        }
    }
    peers, engine, sockets = found[PEERS].streams, found[ENGINE], found[SOCKETS]
    if peers:
        results["streams for each process of listen"] = {
            "engine_alone": engine.streams / peers,
            "over_sockets": sockets.streams / peers,
        }
    for loops, name, best in ((0, ENGINE, engine.best), (1, SOCKETS, sockets.best)):
        if best is not None:
            say(f"{name}: where the time goes ...")
            batch = max(1, round(best.more.get("batch_mean") or 1))
            together = 1 if workforce.processes else workforce.threads  # processes do not hold each other up
            timed = parts(tagger, pace, batch, together, precision=precision)
            told = shares(best, timed, pace.hop_s, workforce, loops)
            results[f"where the time goes, {name}"] = {**timed, **told}
    if sockets.best is not None:
        say("what a stream takes of a server's memory ...")
        sizing = Sizing(
            sockets.streams / usable_cores(),
            kib_a_stream(tagger.path, tagger.device, pace),
            pace.rate * 16 / 1000,
            sockets.best.more["kbit_a_second_out_a_stream"],
        )
        results["sizing: arithmetic from the figures over sockets"] = sizing.figures()
    return results


def _told(name: str, trial: Callable[[int], Trial]) -> Callable[[int], Trial]:
    def told(streams: int) -> Trial:
        made = trial(streams)
        say(f"{name}: {made.about}")
        return made

    return told
