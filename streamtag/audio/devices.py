"""The sound inputs of this machine, through PortAudio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SourceError
from streamtag.text import one_line, printable

MAX_LISTED = 12  # inputs that an error names
HOW_TO_INSTALL = {  # PortAudio, by the beginning of sys.platform
    "linux": "install the system package libportaudio2 (Debian, Ubuntu), portaudio (Fedora, Arch)",
    "darwin": "install it again with pip install --force-reinstall sounddevice, or brew install portaudio",
    "win": "install it again with pip install --force-reinstall sounddevice",
}


@dataclass(frozen=True)
class InputDevice:
    """An input. rate: its own, Hz. channels: how many it has. default: it is the system's default input.

    index: None for a monitor that --system records. is_monitor: it records what an output plays.
    """

    index: int | None
    name: str
    host_api: str
    rate: int
    channels: int
    default: bool
    is_monitor: bool = False


class OpenInput(Protocol):
    """A running input stream."""

    @property
    def latency_s(self) -> float:
        """The time from sound to callback, as far as the device reports it."""

    @property
    def is_active(self) -> bool:
        """Whether the callback will be called again."""

    def close(self) -> None: ...


Callback = Callable[[NDArray[np.float32], bool], None]  # samples [n, channels], valid during the call; some were lost


class SoundSystem(Protocol):
    """What a microphone needs of PortAudio, or of another library."""

    def inputs(self) -> list[InputDevice]: ...

    def open(self, device: InputDevice, channels: int, frames: int, callback: Callback) -> OpenInput:
        """Start a device at its own rate; `callback` gets `frames` samples at a time. Raises SourceError."""

    def refresh(self) -> None:
        """Look for devices again: new ones are not seen otherwise. Only while nothing is open."""


class PortAudio:
    """The real sound system, for any number of microphones, each with threads of its own.

    Devices are looked for again only while none is open: one that comes back beside others is found where it was.
    Every method raises SourceError where PortAudio is missing.
    """

    def __init__(self, library: Any = None) -> None:
        """library: the module sounddevice if None."""
        self._fixed = library
        self._lock = Lock()  # PortAudio opens and closes one stream at a time
        self._open: set[_RunningStream] = set()

    @property
    def _library(self) -> Any:
        return self._fixed or sound_library()

    def inputs(self) -> list[InputDevice]:
        library = self._library
        try:
            with self._lock:
                apis, devices, default = library.query_hostapis(), library.query_devices(), library.default.device[0]
        except library.PortAudioError as error:
            raise SourceError(f"sound inputs: cannot be listed: {_reason(error)}") from None
        if default < 0:
            default = next((api["default_input_device"] for api in apis), -1)
        return [
            InputDevice(
                index=index,
                name=printable(device["name"]),
                host_api=apis[device["hostapi"]]["name"],
                rate=round(device["default_samplerate"]),
                channels=device["max_input_channels"],
                default=index == default,
                is_monitor=_is_monitor(device["name"]),
            )
            for index, device in enumerate(devices)
            if device["max_input_channels"] > 0
        ]

    def open(self, device: InputDevice, channels: int, frames: int, callback: Callback) -> OpenInput:
        def on_block(indata: NDArray[np.float32], count: int, times: object, status: Any) -> None:  # noqa: ARG001
            callback(indata, status.input_overflow)

        library = self._library
        with self._lock:
            try:
                stream = library.InputStream(
                    samplerate=device.rate,
                    blocksize=frames,
                    device=device.index,
                    channels=channels,
                    dtype="float32",
                    latency="low",  # PulseAudio: 10 ms, with "high" 20 at once; under load neither loses anything
                    callback=on_block,
                )
                stream.start()
            except (library.PortAudioError, ValueError) as error:
                raise SourceError(f"input {device.name}: cannot be opened: {_reason(error)}") from None
            running = _RunningStream(stream, self._close)
            self._open.add(running)
        return running

    def refresh(self) -> None:
        # PortAudio lists devices once, when it is initialised; sounddevice has no public name for doing it again
        library = self._library
        with self._lock:
            if self._open:
                return
            try:
                library._terminate()
                library._initialize()
            except library.PortAudioError as error:
                raise SourceError(f"sound inputs: cannot be listed: {_reason(error)}") from None

    def _close(self, running: _RunningStream) -> None:
        with self._lock:
            if running in self._open:  # once PortAudio was initialised anew, what was open before must not be touched
                self._open.discard(running)
                running.stream.abort(ignore_errors=True)
                running.stream.close(ignore_errors=True)


def _is_monitor(name: str) -> bool:
    """Return whether an input records what an output plays, by the names that newer versions of PortAudio give."""
    return name.startswith("Monitor of ") or name.endswith("[Loopback]")


class _RunningStream:
    def __init__(self, stream: Any, on_close: Callable[[_RunningStream], None]) -> None:
        self.stream = stream
        self._on_close = on_close
        self._closed = False

    @property
    def latency_s(self) -> float:
        return float(self.stream.latency)

    @property
    def is_active(self) -> bool:
        try:
            return not self._closed and bool(self.stream.active)
        except Exception:  # what is left of a device that was pulled out
            return False

    def close(self) -> None:
        self._closed = True
        self._on_close(self)


def sound_library() -> Any:
    """Return the module sounddevice, imported only now. Raises SourceError with what to install if it is missing."""
    try:
        import sounddevice
    except ImportError:
        raise SourceError("sound input: the package sounddevice is missing: pip install sounddevice") from None
    except OSError:
        advice = next(
            (text for name, text in HOW_TO_INSTALL.items() if sys.platform.startswith(name)), "install PortAudio"
        )
        raise SourceError(f"sound input: the library PortAudio is missing: {advice}") from None
    except Exception as error:  # PortAudio is there, and fails to start
        raise SourceError(f"sound input: PortAudio does not start: {_reason(error)}") from None
    return sounddevice


def list_inputs() -> list[InputDevice]:
    """Return all sound inputs. Raises SourceError without PortAudio."""
    return PortAudio().inputs()


def find_input(selector: str | None, inputs: Sequence[InputDevice] | None = None) -> InputDevice:
    """Return the input that a selector means: a number is an index, all else a name or a part of one in any case.

    None means the default input. A name that several host APIs have (as on Windows) means the one of the default
    input's host API. Raises SourceError if none or several match.
    """
    inputs = list_inputs() if inputs is None else inputs
    if not inputs:
        raise SourceError("sound input: this machine has none, or its sound server does not run")
    if selector is None:
        return next((device for device in inputs if device.default), inputs[0])
    name = selector.strip().casefold()
    if name.isdecimal():
        matching = [device for device in inputs if str(device.index) == name]
    else:
        parts = [device for device in inputs if name and name in device.name.casefold()]
        matching = [device for device in parts if device.name.casefold() == name] or parts
    if len(matching) > 1 and len({device.name for device in matching}) == 1:
        usual = next((device.host_api for device in inputs if device.default), matching[0].host_api)
        matching = [device for device in matching if device.host_api == usual] or matching[:1]
    if len(matching) == 1:
        return matching[0]
    problem = "fits several" if matching else "no such input; there are"
    raise SourceError(f"input {printable(selector)}: {problem}: {_names(matching or inputs)}")


def _names(devices: Sequence[InputDevice]) -> str:
    shown = devices[:MAX_LISTED]
    names = [device.name if device.index is None else f"{device.index} {device.name}" for device in shown]
    return ", ".join([*names, *(["..."] if len(devices) > MAX_LISTED else [])])


def _reason(error: Exception) -> str:
    """Return PortAudio's words on one line, without their heading and number."""
    text = one_line(error)
    return text.removeprefix("Error opening InputStream: ").partition(" [PaErrorCode")[0] or type(error).__name__
