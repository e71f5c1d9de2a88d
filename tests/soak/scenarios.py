"""What producers do to a server: each scenario is one visit with one stream."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from streamtag.audio.pcm import PcmFormat
from tests.soak.clients import ProducerClient, RefusedError, SubscriberClient
from tests.soak.stream_record import CLOCK_TOLERANCE_S, Signal, StreamRecord

RECONNECT_GRACE_S = 10.0  # for so long a server keeps a stream without its producer
END_TIMEOUT_S = RECONNECT_GRACE_S + 15.0
RATES = (16000, 16000, 16000, 48000, 44100, 8000)
VIOLATIONS = (  # messages that close the connection, and the code of the close
    ('{"type":"hello"}', 1008),
    ("PCM", 1008),
    ("[1,2", 1008),
    ("ünïcode " * 50, 1008),
    (bytes((1 << 20) + 1), 1009),
)


@dataclass(frozen=True)
class Visit:
    """What a scenario works with. duration_s: of its audio, about; stop: ends it early."""

    record: StreamRecord
    producer: ProducerClient
    subscriber: SubscriberClient | None
    rng: random.Random
    duration_s: float
    stop: asyncio.Event

    async def play(self, share: float = 1.0) -> None:
        await self.producer.play(share * self.duration_s, self.stop)

    async def stay_away(self) -> float:
        """Wait for some seconds, fewer than the server waits, and return how many."""
        began = time.monotonic()
        await asyncio.sleep(0.3)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), self.rng.uniform(0.0, min(6.0, self.duration_s)))
        return time.monotonic() - began

    async def finish(self, share: float) -> None:
        await self.play(share)
        await self.producer.end()
        self.expect_close(1000)

    def expect_close(self, code: int) -> None:
        if self.producer.close_code != code:
            self.record.problems.append(f"closed with {self.producer.close_code} in place of {code}")


async def steady(visit: Visit) -> None:
    await visit.producer.open()
    await visit.finish(1.0)


async def leave_without_end(visit: Visit) -> None:
    await visit.producer.open()
    await visit.play()
    await visit.producer.catch_up()
    await visit.producer.disconnect()
    visit.producer.waiting_for = "the stream's end"
    assert visit.subscriber is not None
    async with asyncio.timeout(END_TIMEOUT_S):
        await visit.subscriber.has_ended.wait()
    visit.record.has_ended = True


async def stall(visit: Visit) -> None:
    """Send nothing for a while, then everything that is due at once."""
    await visit.producer.open()
    await visit.play(0.4)
    pause_s = visit.rng.uniform(0.5, min(3.0, visit.duration_s))
    await asyncio.sleep(pause_s)
    await visit.producer.play(pause_s, visit.stop, speed=20.0)
    await visit.finish(0.4)


async def return_with_position(visit: Visit) -> None:
    """What was played during the absence is lost, and its length is known to the sample."""
    await visit.producer.open()
    await visit.play(0.5)
    await visit.producer.catch_up()
    await visit.producer.disconnect()
    visit.producer.skip(await visit.stay_away())
    await visit.producer.open(position=visit.producer.at)
    await visit.finish(0.5)


async def return_and_resend(visit: Visit) -> None:
    """Disconnect in the middle and send the last audio again: nothing is lost or repeated."""
    await visit.producer.open()
    for _ in range(2):
        await visit.play(0.4)
        await visit.producer.disconnect()
        await visit.stay_away()
        visit.producer.rewind(visit.rng.uniform(0.5, 1.5))
        await visit.producer.open(position=visit.producer.at)
    await visit.finish(0.3)


async def return_without_position(visit: Visit) -> None:
    """The gap is as long as the server's clock says."""
    await visit.producer.open()
    await visit.play(0.5)
    await visit.producer.catch_up()
    began = time.monotonic()
    await visit.producer.disconnect()
    await visit.stay_away()
    visit.producer.skip(time.monotonic() - began, CLOCK_TOLERANCE_S)
    await visit.producer.open()
    await visit.finish(0.5)


async def violate_the_protocol(visit: Visit) -> None:
    """Be closed by the server, and come back with all audio."""
    data, code = visit.rng.choice(VIOLATIONS)
    await visit.producer.open()
    await visit.play(0.4)
    with suppress(ConnectionClosed):
        await visit.producer.send(data)
    await visit.producer.wait_closed()
    visit.expect_close(code)
    await visit.stay_away()
    visit.producer.rewind(1.0)
    await visit.producer.open(position=visit.producer.at)
    await visit.finish(0.4)


async def send_noise(visit: Visit) -> None:
    """Send random bytes, which no other stream may notice."""
    visit.record.is_finite = False
    await visit.producer.open()
    await visit.play(0.3)
    await visit.producer.send(visit.rng.randbytes(8000 * visit.record.signal.format.sample_bytes))
    visit.producer.mark_noise(8000)
    await visit.finish(0.3)


async def read_slowly(visit: Visit) -> None:
    """Read no frames for a while: subscribers still get them in time."""
    await visit.producer.open(read=False)
    await visit.play(0.7)
    visit.producer.start_reading()
    await visit.play(0.3)
    await visit.producer.end()


SCENARIOS: Mapping[Callable[[Visit], Awaitable[None]], int] = {  # with their frequencies
    steady: 6,
    leave_without_end: 1,
    stall: 2,
    return_with_position: 2,
    return_and_resend: 2,
    return_without_position: 1,
    violate_the_protocol: 2,
    send_noise: 1,
    read_slowly: 1,
}
WITHOUT_SUBSCRIBER = {steady, stall, send_noise}  # the producer's own connection gets all messages
AT_16_KHZ = {return_with_position, return_without_position, return_and_resend, violate_the_protocol}


async def visit(
    address: str, name: str, duration_s: float, left_s: float, stop: asyncio.Event
) -> tuple[str, StreamRecord]:
    """Run a scenario drawn by the stream's name, left_s before the run's end; return its name and the record.

    Raises RefusedError if the server has no room.
    """
    rng = random.Random(name)
    scenario = rng.choices(list(SCENARIOS), list(SCENARIOS.values()))[0]
    if scenario is leave_without_end and left_s < RECONNECT_GRACE_S:
        scenario = steady
    rate = 16000 if scenario in AT_16_KHZ else rng.choice(RATES)
    record = StreamRecord(Signal(name, PcmFormat(rate, rng.choice(("s16le", "f32le")), rng.choice((1, 1, 2)))))
    async with AsyncExitStack() as stack:
        subscriber = None
        if scenario not in WITHOUT_SUBSCRIBER:
            subscriber = await stack.enter_async_context(SubscriberClient(address, record))
        messages = record.messages if subscriber is None else record.producer_messages
        producer = ProducerClient(address, record, messages, rng)
        try:
            await scenario(Visit(record, producer, subscriber, rng, duration_s * rng.uniform(0.4, 1.6), stop))
            if subscriber is not None:
                producer.waiting_for = "the subscriber's end"
                async with asyncio.timeout(END_TIMEOUT_S):
                    await subscriber.has_ended.wait()
        except ConnectionClosed as error:
            record.problems.append(f"closed with {error.rcvd}: {record.fed[-3:]}")
        except RefusedError as error:
            if not producer.was_accepted:
                raise
            record.problems.append(f"returned, and was {error}")
        except TimeoutError:
            record.problems.append(f"the server took too long for {producer.waiting_for}: {record.fed[-3:]}")
        finally:
            producer.abort()
    return scenario.__name__, record
