"""The sources that `streamtag listen` is asked for, and how each is opened."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamtag.audio.files import STANDARD_INPUT, Address
from streamtag.audio.pcm import PcmFormat
from streamtag.cli.program import UsageError
from streamtag.errors import SourceError
from streamtag.text import printable, unique

if TYPE_CHECKING:
    from streamtag.audio.devices import SoundSystem
    from streamtag.audio.resample import AudioTap
    from streamtag.audio.source import AudioSource

NAMED = re.compile(r"([^=/]+)=(-|[a-z][a-z0-9+.-]+://.*)", re.IGNORECASE | re.DOTALL)  # an address may contain = too


@dataclass(frozen=True)
class LiveInput:
    """One source. where: an address or "-"; None: the sound input that `selector` means, or the default one.

    channel: of a sound input. is_system: it is what an output plays. pcm: of raw samples on standard input. name: of
    the stream; None: that of the source.
    """

    where: str | None = None
    selector: str | None = None
    channel: int | None = None
    is_system: bool = False
    pcm: PcmFormat | None = None
    name: str | None = None

    def open(
        self, tap: AudioTap | None = None, system: SoundSystem | None = None, *, is_persistent: bool = False
    ) -> AudioSource:
        """Return the source. system: PortAudio if None. is_persistent: an address that never worked is tried again.

        Raises SourceError.
        """
        from streamtag.audio.loopback import OutputMonitors
        from streamtag.audio.microphone import Microphone
        from streamtag.audio.pcm_pipe import PcmPipe
        from streamtag.audio.url_stream import UrlStream

        if self.is_system:
            return Microphone(self.selector, self.channel, name="system", tap=tap, system=OutputMonitors())
        if self.where is None:
            return Microphone(self.selector, self.channel, tap=tap, system=system)
        if self.pcm is None:
            return UrlStream(self.where, tap=tap, is_persistent=is_persistent)
        return PcmPipe(self.pcm, tap=tap)

    @property
    def label(self) -> str:
        """What is read, for people: without a password."""
        if self.where is not None:
            return Address.of(self.where, allow_live=True).label
        return f"{'output' if self.is_system else 'sound input'} {self.selector or '(default)'}"

    @property
    def stream_name(self) -> str:
        """The name of its stream among others, before it is unique."""
        if self.name is not None:
            return self.name
        if self.where is not None:
            return Address.of(self.where, allow_live=True).name
        if self.selector is None:
            return "mic"
        return f"input {self.selector}" if self.selector.strip().isdecimal() else printable(self.selector)


def live_inputs(
    addresses: Sequence[str],
    selectors: Sequence[str],
    channel: int | None,
    is_system: bool,
    pcm: PcmFormat | None,
    name: str | None,
) -> list[LiveInput]:
    """Return the sources of the command line: the addresses, then the sound inputs; without any, the default input.

    Each of several has a name that no other has. Raises UsageError for what cannot be combined.
    """
    count = len(addresses) + len(selectors)
    if is_system and (addresses or count > 1):
        raise UsageError("--system is the only source: leave out --from, and all but one --input")
    if channel is not None and (len(selectors) > 1 or (addresses and not selectors)):
        raise UsageError("--channel goes with one sound input")
    if name is not None and count > 1:
        raise UsageError("--name names the only source; of several, write --from NAME=URL")
    inputs = [_address_input(address, pcm) for address in addresses]
    if sum(each.where == STANDARD_INPUT for each in inputs) > 1:
        raise UsageError("--from -: standard input can be read only once")
    inputs += [LiveInput(selector=selector, channel=channel, is_system=is_system) for selector in selectors]
    if not inputs:
        inputs = [LiveInput(channel=channel, is_system=is_system)]
    if count <= 1:
        return [replace(inputs[0], name=name or inputs[0].name)]
    return [replace(each, name=name) for each, name in zip(inputs, unique(i.stream_name for i in inputs), strict=True)]


def _address_input(value: str, pcm: PcmFormat | None) -> LiveInput:
    """Return the source that a value of --from means: URL, "-" or NAME=URL. Raises UsageError."""
    named = NAMED.fullmatch(value)
    name, where = (None, value) if named is None else named.groups()
    try:
        address = Address.of(where, allow_live=True)
    except SourceError as error:
        raise UsageError(f"--from {error}") from None
    if address.kind == "file":
        raise UsageError(f"--from {where}: a file, not an address", hint=shlex.join(["streamtag", "file", where]))
    return LiveInput(where=where, pcm=pcm if address.kind == "pipe" else None, name=name and printable(name.strip()))
