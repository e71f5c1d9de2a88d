"""Publishing to an MQTT broker from a thread of its own: what is present, as retained topics, and every event.

The topics are in mqtt_states. Everything is sent with QoS 1. Events wait while there is no connection, and follow in
their order; after a connection that broke, a few may come twice. Nothing is subscribed to.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from streamtag.audio.source import Closing, SourceNotice
from streamtag.audio.threaded import FIRST_DELAY_S, next_delay
from streamtag.errors import OutputError
from streamtag.protocol.messages import Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.sinks.mqtt_address import MqttAddress, Problem, UnrequestedMessageError
from streamtag.sinks.mqtt_discovery import Discovery
from streamtag.sinks.mqtt_states import MAX_EVENTS, OFFLINE, ONLINE, MqttStates, Outbox, Publication
from streamtag.text import plural

if TYPE_CHECKING:
    from aiomqtt import Client

KEEPALIVE_S = 20  # the broker notices after 1.5 times this that a program has vanished
ANSWER_TIMEOUT_S = 5.0
STABLE_CONNECTION_S = 10.0  # after one that lasted this long, delays start anew and problems are reported again
STALL_TIMEOUT_S = 3.0  # at the end: how long nothing may be confirmed while messages wait
STRONGEST_INTERVAL_S = 1.0
STATUS_INTERVAL_S = 60.0  # between two `online`: the last will of an earlier run may come late
MAX_IN_FLIGHT = 100  # messages that are not confirmed: a batch takes 40 ms where the broker delays small packets
LOG = logging.getLogger("streamtag.mqtt")  # silent: what happens to a connection is reported by `notify`
LOG.addHandler(logging.NullHandler())


class MqttSink(Closing, Sink):
    """Publishes the states and events of streams. Any thread may write, and never waits.

    A problem of the connection is reported once until it is over; the program connects again, less and less often.
    """

    def __init__(
        self,
        address: MqttAddress,
        selection: Selection,
        notify: Callable[[SourceNotice], None],
        *,
        ca: Path | None = None,
        discovery: Discovery | None = None,
        max_events: int = MAX_EVENTS,
        first_delay_s: float = FIRST_DELAY_S,
        stable_connection_s: float = STABLE_CONNECTION_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """notify: called from any thread. ca: a certificate to trust instead of the system's.

        max_events: that wait for a connection. Raises OutputError if aiomqtt is not installed, or for the certificate.
        """
        check_aiomqtt()
        self.published = 0  # messages that the broker has confirmed
        self._address = address
        self._notify = notify
        self._tls = _tls_context(ca) if address.is_secure else None
        self._first_delay_s = first_delay_s
        self._stable_connection_s = stable_connection_s
        self._answer_timeout_s = answer_timeout_s
        # The same for all connections: the broker then ends an old one, with its last will, before a new one begins
        self._client_id = f"streamtag-{uuid4().hex[:12]}"
        self._status = f"{address.topic}/status"
        self._lock = threading.Lock()  # guards these two
        self._outbox = Outbox(max_events)
        self._states = MqttStates(address.topic, selection, self._outbox, discovery)
        self._reported: set[bool] = set()  # kinds of problems: whether the broker refuses
        self._recovery_reported = False
        self._is_closed = False
        self._loop = asyncio.SelectorEventLoop()  # Windows' default loop cannot watch the library's sockets
        self._has_work = asyncio.Event()
        self._close_requested = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="streamtag-mqtt", daemon=True)
        self._thread.start()

    def write(self, message: Message) -> None:
        with self._lock:
            self._states.add(message)
            has_work = self._outbox.has_work()
        if has_work and not self._has_work.is_set():
            self._call(self._has_work.set)

    def close(self) -> None:
        """Publish what waits and that this program is offline, as long as the broker confirms; report what is lost."""
        if self._is_closed:
            return
        self._is_closed = True
        self._call(self._close_requested.set)
        self._call(self._has_work.set)
        before = -1
        while self._thread.is_alive() and before != self.published:
            before = self.published
            self._thread.join(STALL_TIMEOUT_S)
        with self._lock:
            lost = self._outbox.dropped + self._outbox.waiting
        if lost:
            self._notify(SourceNotice(f"{self._address}: {plural(lost, 'event')} not published"))

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)

    # --- in its own thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._connect_until_closed())

    async def _connect_until_closed(self) -> None:
        delay_s = self._first_delay_s
        while True:
            is_last, connected_at = self._close_requested.is_set(), float("inf")
            try:
                async with self._client() as client:
                    connected_at = self._loop.time()
                    await self._use(client)
                return
            except Exception as error:  # of many kinds: the program goes on whatever it is
                if self._loop.time() - connected_at >= self._stable_connection_s:
                    delay_s, self._recovery_reported = self._first_delay_s, False
                    self._reported.clear()
                self._report(error)
            if is_last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._close_requested.wait(), delay_s)
            delay_s = next_delay(delay_s)

    def _client(self) -> Client:
        from aiomqtt import Client, Will

        client = Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=self._client_id,
            will=Will(self._status, OFFLINE, qos=1, retain=True),
            tls_context=self._tls,
            keepalive=KEEPALIVE_S,
            timeout=self._answer_timeout_s,
            max_queued_incoming_messages=1,
            max_inflight_messages=MAX_IN_FLIGHT,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # a message waits for no other
            logger=LOG,
        )
        client.pending_calls_threshold = MAX_IN_FLIGHT
        return client

    async def _use(self, client: Client) -> None:
        """Publish until the sink is closed. Raises what ends the connection before."""
        tasks = [asyncio.create_task(self._publish(client)), asyncio.create_task(_watch(client))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, client: Client) -> None:
        with self._lock:
            self._outbox.restart()
        strongest_at = status_at = self._loop.time() - STATUS_INTERVAL_S
        while True:
            self._has_work.clear()
            now = self._loop.time()
            with self._lock:
                if now - strongest_at >= STRONGEST_INTERVAL_S:
                    strongest_at = now
                    self._states.update_strongest()
                if now - status_at >= STATUS_INTERVAL_S:
                    status_at = now
                    self._outbox.retain(self._status, ONLINE)
                batch = self._outbox.batch(MAX_IN_FLIGHT)
            if batch:
                await self._send(client, batch)
            elif self._close_requested.is_set():
                break
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._has_work.wait(), STRONGEST_INTERVAL_S)
        with self._lock:
            self._states.go_offline()
        while batch := self._outbox.batch(MAX_IN_FLIGHT):
            await self._send(client, batch)

    async def _send(self, client: Client, batch: Sequence[Publication]) -> None:
        """Publish messages in their order, and wait until the broker has confirmed all of them."""
        sent = [self._send_one(client, message) for message in batch]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        if self._reported and not self._recovery_reported:
            self._recovery_reported = True
            self._notify(SourceNotice(f"{self._address}: connected", is_problem=False))

    async def _send_one(self, client: Client, message: Publication) -> None:
        await client.publish(message.topic, message.payload, qos=1, retain=message.number is None)
        with self._lock:
            self._outbox.confirm(message)
        self.published += 1

    def _report(self, error: Exception) -> None:
        problem = Problem.of(error, self._address)
        if problem.is_refusal not in self._reported:
            self._reported.add(problem.is_refusal)
            self._notify(SourceNotice(f"{self._address}: {problem.text}: trying again"))


async def _watch(client: Client) -> None:
    """Wait until the connection breaks, and raise why. A broker that sends messages would only cost time."""
    async for message in client.messages:
        raise UnrequestedMessageError(str(message.topic))


def check_aiomqtt() -> None:
    """Raise OutputError if the package is not installed."""
    try:
        import aiomqtt  # noqa: F401
    except ImportError:
        raise OutputError("MQTT needs the package aiomqtt: pip install 'streamtag[mqtt]'") from None


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in it"
        raise OutputError(f"{ca}: {reason}") from None
