"""What an engine counts, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streamtag.scheduler.scheduler import Scheduler

STREAMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)  # in one step
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of work
LAGS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.256, 0.35, 0.5, 1.0, 2.0)


class SchedulerMetrics:
    """An Observer; workers tell it, any number of them at once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ticks = Counter("streamtag_ticks", "Steps of the engine", registry=registry)
        self._streams = Counter("streamtag_tick_streams", "Streams stepped, over all steps", registry=registry)
        self._misses = Counter("streamtag_deadline_misses", "Hops told after their deadline", registry=registry)
        self._shed = Counter("streamtag_shed_seconds", "Seconds of sound thrown away unheard", registry=registry)
        self._batch = Histogram("streamtag_batch", "Streams in a step", buckets=STREAMS, registry=registry)
        self._work = Histogram("streamtag_tick_seconds", "Work of a step", buckets=SECONDS, registry=registry)
        about = "From a hop being there to its messages, of live streams"
        self._lags = Histogram("streamtag_lag_seconds", about, buckets=LAGS_S, registry=registry)

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        self._ticks.inc()
        self._streams.inc(streams)
        self._batch.observe(streams)
        self._work.observe(seconds)
        for lag_s in lags_s:
            self._lags.observe(lag_s)
        if missed:
            self._misses.inc(missed)

    def on_shed(self, seconds: float) -> None:
        self._shed.inc(seconds)


class SchedulerCollector(Collector):
    """How the engine stands when it is asked, and each of its streams."""

    def __init__(self, engine: Callable[[], Scheduler | None]) -> None:
        """engine: gives None where there is none now."""
        self._engine = engine

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())  # nothing needs to be known before: no name is used twice

    def collect(self) -> Iterator[GaugeMetricFamily]:
        engine = self._engine()
        if engine is None:
            return
        load = engine.stats
        for name, about, value in (
            ("streams", "Streams that have a place", load.streams),
            ("streams_away", "Of these, those that wait for their producer", load.disconnected),
            ("capacity", "Streams that there is room for", load.capacity),
            ("degraded", "1 while no new streams are let in since deadlines are missed", int(load.is_degraded)),
            ("due_streams", "Streams that wait to be stepped", load.ready),
            ("due_seconds", "The longest that one of them has waited", load.lag_s),
            ("hop_cost_seconds", "What a hop of one stream costs a worker", load.hop_cost_s),
            ("busy", "Part of their time that the workers work", load.utilization),
        ):
            yield GaugeMetricFamily(f"streamtag_{name}", about, value)
        streams = engine.streams
        for name, about, values in (
            ("stream_lag_seconds", "Of its last hop", [stream.lag_s for stream in streams]),
            ("stream_waiting_seconds", "Sound that waits to be heard", [stream.waiting_s for stream in streams]),
            ("stream_shed_seconds", "Sound that was thrown away unheard", [stream.shed_s for stream in streams]),
        ):
            family = GaugeMetricFamily(f"streamtag_{name}", about, labels=["stream"])
            for stream, value in zip(streams, values, strict=True):
                family.add_metric([stream.name], value)
            yield family
