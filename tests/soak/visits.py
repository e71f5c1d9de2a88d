"""What producers do to a server: all that may happen in a day, each as one visit with one stream."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from streamtag.audio.pcm import PcmFormat
from tests.soak.account import BY_THE_CLOCK_S, Account, Sound
from tests.soak.line import Ear, Line, RefusedError

AWAY_S = 10.0  # so long a server keeps a stream without its producer
GOODBYE_S = 25.0  # for the end of a stream that its producer left: 10 s, and what is owed
RATES = (16000, 16000, 16000, 48000, 44100, 8000)
TOO_LONG = bytes((1 << 20) + 1)


@dataclass(frozen=True)
class Visit:
    """What a visit has to do with. stay_s: about how long it lasts. over: the whole is to end soon."""

    address: str
    account: Account
    line: Line
    ear: Ear | None
    chance: random.Random
    stay_s: float
    over: asyncio.Event

    async def play(self, share: float = 1.0) -> None:
        await self.line.play(share * self.stay_s, self.over)

    async def absence(self) -> float:
        """Some seconds without a connection: fewer than the server waits. -> how many."""
        began = time.monotonic()
        await asyncio.sleep(0.3)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), self.chance.uniform(0.0, min(6.0, self.stay_s)))
        return time.monotonic() - began


async def steady(visit: Visit) -> None:
    await visit.line.open()
    await visit.play()
    await visit.line.end()
    _expect(visit, 1000)


async def leaves(visit: Visit) -> None:
    """And does not come back: the server ends the stream by itself."""
    await visit.line.open()
    await visit.play()
    await visit.line.caught_up()
    await visit.line.break_off()
    assert visit.ear is not None
    async with asyncio.timeout(GOODBYE_S):
        await visit.ear.over.wait()
    visit.account.ended = True


async def stalls(visit: Visit) -> None:
    """Sends nothing for a while, then all that waited, then goes on: nothing of its sound is lost."""
    await visit.line.open()
    await visit.play(0.4)
    pause = visit.chance.uniform(0.5, min(3.0, visit.stay_s))
    await asyncio.sleep(pause)
    await visit.line.play(pause, visit.over, speed=20.0)
    await visit.play(0.4)
    await visit.line.end()
    _expect(visit, 1000)


async def returns_exactly(visit: Visit) -> None:
    """A live source that counts: what was played while it was away is lost, and known to the sample."""
    await visit.line.open()
    await visit.play(0.5)
    await visit.line.caught_up()
    await visit.line.break_off()
    visit.line.skip(await visit.absence())
    await visit.line.open(position=visit.line.at)
    await visit.play(0.5)
    await visit.line.end()


async def returns_with_everything(visit: Visit) -> None:
    """Breaks off in the middle, and sends again what may have been on its way: nothing is lost, nothing twice."""
    await visit.line.open()
    for _ in range(2):
        await visit.play(0.4)
        await visit.line.break_off()
        await visit.absence()
        visit.line.at = max(0, visit.line.at - round(visit.chance.uniform(0.5, 1.5) * visit.account.sound.format.rate))
        await visit.line.open(position=visit.line.at)
    await visit.play(0.3)
    await visit.line.end()


async def returns_blindly(visit: Visit) -> None:
    """Does not count: the gap is as long as the clock says."""
    await visit.line.open()
    await visit.play(0.5)
    await visit.line.caught_up()
    began = time.monotonic()
    await visit.line.break_off()
    await visit.absence()
    visit.line.skip(time.monotonic() - began, slack_s=BY_THE_CLOCK_S)
    await visit.line.open()
    await visit.play(0.5)
    await visit.line.end()


async def talks(visit: Visit) -> None:
    """Says what it should not, and is shown the door; comes back with all its sound."""
    await visit.line.open()
    await visit.play(0.4)
    await _mischief(visit, visit.chance.choice(['{"type":"hello"}', "PCM", "[1,2", "ünïcode " * 50]), 1008)
    await visit.play(0.4)
    await visit.line.end()


async def sends_too_much(visit: Visit) -> None:
    """In one message, and is shown the door; comes back with all its sound."""
    await visit.line.open()
    await visit.play(0.4)
    await _mischief(visit, TOO_LONG, 1009)
    await visit.play(0.4)
    await visit.line.end()


async def sends_noise(visit: Visit) -> None:
    """Bytes that are no numbers in between: they count as something, and nobody else hears them."""
    visit.account.finite = False
    await visit.line.open()
    await visit.play(0.3)
    await visit.line.say(visit.chance.randbytes(4 * visit.account.sound.format.channels * 8000))
    visit.line.count(8000 if visit.account.sound.format.encoding == "f32le" else 16000)
    await visit.play(0.3)
    await visit.line.end()


async def reads_slowly(visit: Visit) -> None:
    """Its sound is heard all the same, and others hear of it in time."""
    await visit.line.open(deaf=True)
    await visit.play(0.7)
    visit.line.listen()
    await visit.play(0.3)
    await visit.line.end()


Kind = Callable[[Visit], Awaitable[None]]
KINDS: Mapping[Kind, int] = {  # how often, and whether a subscriber goes with it
    steady: 6,
    leaves: 1,
    stalls: 2,
    returns_exactly: 2,
    returns_with_everything: 2,
    returns_blindly: 1,
    talks: 1,
    sends_too_much: 1,
    sends_noise: 1,
    reads_slowly: 1,
}
ALONE = {steady, stalls, sends_noise}  # their own connection tells them everything
AT_OUR_RATE = {returns_exactly, returns_blindly, returns_with_everything, talks, sends_too_much}


async def visit(address: str, name: str, stay_s: float, left_s: float, over: asyncio.Event) -> tuple[str, Account]:
    """One visit, with everything about it drawn by its name. left_s: until all is over. -> its kind, and the account.

    Raises RefusedError if there is no room.
    """
    chance = random.Random(name)
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    if kind is leaves and left_s < AWAY_S:  # nobody needs to wait for it
        kind = steady
    rate = 16000 if kind in AT_OUR_RATE else chance.choice(RATES)
    format = PcmFormat(rate, chance.choice(("s16le", "f32le")), chance.choice((1, 1, 2)))
    account = Account(Sound(name, format))
    async with AsyncExitStack() as stack:
        ear = None
        if kind not in ALONE:
            ear = await stack.enter_async_context(Ear(address, account))
        line = Line(address, account, account.own if ear else account.messages, chance)
        try:
            await kind(Visit(address, account, line, ear, chance, stay_s * chance.uniform(0.4, 1.6), over))
            if ear is not None:
                line.waits_for = "the subscriber's end"
                async with asyncio.timeout(GOODBYE_S):
                    await ear.over.wait()
        except ConnectionClosed as error:
            account.problems.append(f"closed with {error.rcvd}: {account.recent}")
        except RefusedError as error:
            if not line.let_in:
                raise
            account.problems.append(f"came back, and was {error}")
        except TimeoutError:
            account.problems.append(f"the server took too long for {line.waits_for}: {account.recent}")
        finally:
            line.abandon()
    return kind.__name__, account


async def _mischief(visit: Visit, data: bytes | str, code: int) -> None:
    """Sends something that the server should not put up with, then returns with its sound."""
    with suppress(ConnectionClosed):
        await visit.line.say(data)
    await visit.line.closed()
    _expect(visit, code)
    await visit.absence()
    visit.line.at = max(0, visit.line.at - visit.account.sound.format.rate)
    await visit.line.open(position=visit.line.at)


def _expect(visit: Visit, code: int) -> None:
    if visit.line.code != code:
        visit.account.problems.append(f"closed with {visit.line.code} in place of {code}")
