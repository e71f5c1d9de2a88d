"""Counters of the server and its scheduler in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streamtag.protocol.messages import Event, Frame, Gap, Message
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Observer

LATENCY_BUCKETS_S = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)  # streams in a step
STEP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LAG_BUCKETS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.256, 0.35, 0.5, 1.0, 2.0)


class Metrics:
    """The counters of one server, in a registry of their own; any thread may count."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._frames = self._counter("frames", "Frames of all streams")
        self._events = self._counter("events", "Tags that went on or off")
        self._gaps = self._counter("gaps", "Places where sound was lost")
        self._lost_seconds = self._counter("lost_seconds", "Seconds of sound that were lost")
        self.sent = self._counter("messages_sent", "Messages handed to subscribers' sockets")
        self.dropped = self._counter("messages_dropped", "Messages dropped since a subscriber was too slow")
        self.stalled = self._counter("stalled_subscribers", "Subscribers that were closed for not reading")
        self._refused = self._counter("refused_connections", "Connections that were refused", "reason")
        self.silent = self._counter("silent_producers", "Producers that were closed since no sound came")
        self.subscribers = Gauge("streamtag_subscribers", "Subscribers now", registry=self.registry)
        self.producers = Gauge("streamtag_producers", "Producers that are connected now", registry=self.registry)
        self._latency = Histogram(
            "streamtag_latency_seconds",
            "From the sound at a window's centre to its frame's message, of live streams",
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )

    def count(self, message: Message) -> None:
        """Count one published message, however many subscribers get it."""
        if isinstance(message, Frame):
            self._frames.inc()
            if message.latency_s is not None:
                self._latency.observe(message.latency_s)
        elif isinstance(message, Event):
            self._events.inc()
        elif isinstance(message, Gap):
            self._gaps.inc()
            self._lost_seconds.inc(max(0.0, message.lost_s))

    def count_refusal(self, reason: str) -> None:
        """reason: one of a few words."""
        self._refused.labels(reason).inc()

    def page(self) -> bytes:
        """Return all counters as Prometheus reads them."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"streamtag_{name}", description, labels, registry=self.registry)


class SchedulerMetrics(Observer):
    """Counts the work of a scheduler; several workers may call it at once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._steps = Counter("streamtag_ticks", "Steps of the scheduler", registry=registry)
        self._streams = Counter("streamtag_tick_streams", "Streams stepped, over all steps", registry=registry)
        self._misses = Counter("streamtag_deadline_misses", "Hops published after their deadline", registry=registry)
        self._shed = Counter("streamtag_shed_seconds", "Seconds of sound shed under overload", registry=registry)
        self._batch = Histogram("streamtag_batch", "Streams in a step", buckets=BATCH_BUCKETS, registry=registry)
        self._step_s = Histogram(
            "streamtag_tick_seconds", "Duration of a step", buckets=STEP_BUCKETS_S, registry=registry
        )
        description = "From a hop being complete to its messages, of live streams"
        self._lags = Histogram("streamtag_lag_seconds", description, buckets=LAG_BUCKETS_S, registry=registry)

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        self._steps.inc()
        self._streams.inc(streams)
        self._batch.observe(streams)
        self._step_s.observe(seconds)
        for lag_s in lags_s:
            self._lags.observe(lag_s)
        if missed:
            self._misses.inc(missed)

    def on_shed(self, seconds: float) -> None:
        self._shed.inc(seconds)


class SchedulerCollector(Collector):
    """The state of a scheduler and of each of its streams at the time of the request."""

    def __init__(self, scheduler: Callable[[], Scheduler | None]) -> None:
        """scheduler: returns None while there is none."""
        self._scheduler = scheduler

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())  # no name is used twice, so none has to be known in advance

    def collect(self) -> Iterator[GaugeMetricFamily]:
        scheduler = self._scheduler()
        if scheduler is None:
            return
        stats = scheduler.stats
        for name, description, value in (
            ("streams", "Streams that have a place", stats.streams),
            ("streams_away", "Of these, those that wait for their producer", stats.disconnected),
            ("capacity", "Streams that there is room for", stats.capacity),
            ("degraded", "1 while no new streams are admitted since deadlines are missed", int(stats.is_degraded)),
            ("due_streams", "Streams that wait to be stepped", stats.ready),
            ("due_seconds", "The longest that one of them has waited", stats.lag_s),
            ("hop_cost_seconds", "What a hop of one stream costs a worker", stats.hop_cost_s),
            ("busy", "Part of their time that the workers work", stats.utilization),
        ):
            yield GaugeMetricFamily(f"streamtag_{name}", description, value)
        streams = scheduler.streams
        for name, description, values in (
            ("stream_lag_seconds", "Of its last hop", [stream.lag_s for stream in streams]),
            ("stream_waiting_seconds", "Sound that waits to be processed", [stream.waiting_s for stream in streams]),
            ("stream_shed_seconds", "Sound that was shed under overload", [stream.shed_s for stream in streams]),
        ):
            family = GaugeMetricFamily(f"streamtag_{name}", description, labels=["stream"])
            for stream, value in zip(streams, values, strict=True):
                family.add_metric([stream.name], value)
            yield family
