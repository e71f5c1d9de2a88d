"""What this machine plays, recorded from its outputs: monitors of PulseAudio and PipeWire, WASAPI's loopback.

Tested with PulseAudio; not yet run with PipeWire or on Windows.

PortAudio has no loopback on Windows and does not list monitors on Linux, so this is the library SoundCard.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from streamtag.audio.devices import Callback, InputDevice, OpenInput
from streamtag.errors import SourceError
from streamtag.text import describe_os_error, one_line, printable, unique

RATE = 48000  # Hz; the sound server resamples if an output has another one
JOIN_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
NO_LOOPBACK = {  # by the beginning of sys.platform
    "darwin": "macOS lets no program record what others play: install a virtual device such as BlackHole, send the"
    " sound there, and choose it with --input",
}


class OutputMonitors:
    """A SoundSystem whose inputs are monitors, that of the default output first. Its devices have no index."""

    def __init__(self, library: Any = None) -> None:
        """library: the module soundcard if None. Raises SourceError where there is no loopback."""
        self._fixed = library
        self._library = _import_library() if library is None else library
        self._ids: dict[str, str] = {}

    def inputs(self) -> list[InputDevice]:
        try:
            speaker = self._library.default_speaker().id
            found = [each for each in self._library.all_microphones(include_loopback=True) if each.isloopback]
            found.sort(key=lambda each: each.id not in (speaker, f"{speaker}.monitor"))
            names = unique(printable(each.name) for each in found)
            self._ids = dict(zip(names, (each.id for each in found), strict=True))
            channels = [each.channels if isinstance(each.channels, int) else len(each.channels) for each in found]
        except Exception as error:  # RuntimeError, IndexError, TypeError, ...: depends on the system
            raise SourceError(f"system sound: the outputs cannot be listed: {_reason(error)}") from None
        api = "WASAPI" if sys.platform == "win32" else "PulseAudio"
        return [
            InputDevice(None, name, api, RATE, count, default=False, is_monitor=True)
            for name, count in zip(names, channels, strict=True)
        ]

    def open(self, device: InputDevice, channels: int, frames: int, callback: Callback) -> OpenInput:
        resources = ExitStack()
        try:
            microphone = self._library.get_microphone(self._ids.get(device.name, device.name), include_loopback=True)
            recorder = microphone.recorder(samplerate=device.rate, channels=channels, blocksize=frames)
            resources.enter_context(recorder)
        except Exception as error:
            raise SourceError(f"system sound: {device.name} cannot be opened: {_reason(error)}") from None
        return _Recording(recorder, frames, callback, frames / device.rate, resources)

    def refresh(self) -> None:
        """Connect to the sound server again if it is gone."""
        if self._fixed is None and sys.platform == "linux":
            self._library = _import_library(again=True)


class _Recording:
    """A thread that hands blocks of a recorder to a callback. latency_s: the length of a block."""

    def __init__(self, recorder: Any, frames: int, callback: Callback, latency_s: float, resources: ExitStack) -> None:
        self.latency_s = latency_s
        self._recorder, self._frames, self._callback, self._resources = recorder, frames, callback, resources
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamtag-loopback", daemon=True)
        self._thread.start()

    @property
    def is_active(self) -> bool:
        return self._thread.is_alive() and not self._stop.is_set()

    def close(self) -> None:
        """Stop. A thread that gets no sound any more, and so cannot see that, ends with the process."""
        self._stop.set()
        self._thread.join(timeout=JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                block = self._recorder.record(numframes=self._frames)
                self._callback(np.ascontiguousarray(block, np.float32), False)
        except Exception:  # the device or the sound server is gone: is_active says so
            pass
        finally:
            self._resources.close()


def _import_library(again: bool = False) -> Any:
    """Return the module soundcard. again: with a new connection, since it connects only when it is imported.

    Raises SourceError with what to do where there is no loopback.
    """
    advice = next((text for name, text in NO_LOOPBACK.items() if sys.platform.startswith(name)), None)
    if advice is not None:
        raise SourceError(f"system sound: {advice}")
    if sys.platform == "linux":
        _check_server()
    for name in [name for name in sys.modules if again and name.partition(".")[0] == "soundcard"]:
        del sys.modules[name]
    try:
        import soundcard
    except ImportError:
        raise SourceError("system sound: needs SoundCard: pip install 'streamtag[system]'") from None
    except NotImplementedError:
        raise SourceError(f"system sound: not known how to record it on {sys.platform}") from None
    except OSError:
        raise SourceError("system sound: the library libpulse is missing: install PulseAudio or PipeWire") from None
    except AssertionError:  # SoundCard's, without a server
        raise SourceError("system sound: no sound server runs (PulseAudio or PipeWire)") from None
    except Exception as error:
        raise SourceError(f"system sound: no connection to the sound server: {_reason(error)}") from None
    if warning := getattr(soundcard, "SoundcardRuntimeWarning", None):
        warnings.simplefilter("ignore", warning)  # lost audio: found and reported by the clock
    return soundcard


def _check_server() -> None:
    """Raise SourceError if the user's sound server does not run: SoundCard would leave a thread behind each time."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.environ.get("PULSE_SERVER") or not runtime:
        return
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CONNECT_TIMEOUT_S)
            connection.connect(str(Path(runtime, "pulse", "native")))
    except OSError as error:
        raise SourceError(f"system sound: the sound server does not run: {describe_os_error(error)}") from None


def _reason(error: Exception) -> str:
    return one_line(error) or type(error).__name__
