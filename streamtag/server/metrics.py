"""What the server counts, in Prometheus' form."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streamtag.protocol.messages import Event, Frame, Gap, Message

LATENCIES_S = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0)


class Metrics:
    """One server's counters, in a registry of their own; any thread may count."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._frames = self._counter("frames", "Frames of all streams")
        self._events = self._counter("events", "Tags that went on or off")
        self._gaps = self._counter("gaps", "Places where sound was lost")
        self._lost = self._counter("lost_seconds", "Seconds of sound that were lost")
        self.sent = self._counter("messages_sent", "Messages handed to subscribers' sockets")
        self.dropped = self._counter("messages_dropped", "Messages thrown away since a subscriber was too slow")
        self.stalled = self._counter("stalled_subscribers", "Subscribers that were closed for not reading")
        self._refused = self._counter("refused_connections", "Connections that were refused", "reason")
        self.silent = self._counter("silent_producers", "Producers that were closed since no sound came")
        self.subscribers = Gauge("streamtag_subscribers", "Subscribers now", registry=self._registry)
        self.producers = Gauge("streamtag_producers", "Producers that are connected now", registry=self._registry)
        self._latency = Histogram(
            "streamtag_latency_seconds",
            "From the sound at a window's centre to its frame's message, of live streams",
            buckets=LATENCIES_S,
            registry=self._registry,
        )

    def tell(self, message: Message) -> None:
        """Counts one message, however many hear it."""
        if isinstance(message, Frame):
            self._frames.inc()
            if message.latency_s is not None:
                self._latency.observe(message.latency_s)
        elif isinstance(message, Event):
            self._events.inc()
        elif isinstance(message, Gap):
            self._gaps.inc()
            self._lost.inc(max(0.0, message.lost_s))

    def refuse(self, reason: str) -> None:
        """reason: one of a few words."""
        self._refused.labels(reason).inc()

    @property
    def registry(self) -> CollectorRegistry:
        """For what others count."""
        return self._registry

    def page(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"streamtag_{name}", about, labels, registry=self._registry)
