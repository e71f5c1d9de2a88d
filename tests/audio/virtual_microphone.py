"""A sound system of the tests' own: PulseAudio with a sink that goes nowhere, whose monitor is the microphone.

PortAudio reaches it by way of ALSA's pulse plugin. What is played into the sink is what the microphone hears.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SINK = "vmic"
SETTLE_S = 20.0  # s; most that the sound server may take to start
ALSA_PLUGIN = "libasound_module_pcm_pulse.so"
PROGRAMS = ("pulseaudio", "paplay", "pactl")
WHAT_IS_MISSING = (
    "machine has no virtual microphone (Debian: pulseaudio pulseaudio-utils libasound2-plugins libportaudio2)"
)


def is_there() -> bool:
    """Whether this machine has all that a virtual microphone needs."""
    if not all(map(shutil.which, PROGRAMS)):
        return False
    if not any(Path(root).rglob(ALSA_PLUGIN) for root in ("/usr/lib", "/usr/lib64") if Path(root).is_dir()):
        return False
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


class VirtualMicrophone:
    """env: for processes that shall hear it; their default input is the microphone and nothing else.

    start, stop: the sound server, which may come and go while somebody listens.
    """

    def __init__(self, folder: Path) -> None:
        """folder: short, since a socket's path has at most 107 bytes."""
        home, runtime = folder / "home", folder / "run"
        home.mkdir()
        runtime.mkdir(mode=0o700)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "ALSA_"))}
        self.env: Mapping[str, str] = {
            **keep,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "PULSE_SOURCE": f"{SINK}.monitor",
            "PULSE_SINK": SINK,
        }
        self._server: subprocess.Popen[bytes] | None = None
        self._log = folder / "pulseaudio.log"

    def start(self) -> None:
        """Returns when the server answers."""
        sink = f"module-null-sink sink_name={SINK} rate=48000 channels=2 format=float32le"
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "-L", sink]
        command += ["-L", "module-native-protocol-unix"]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + SETTLE_S
        while subprocess.run(["pactl", "info"], env=self.env, capture_output=True, timeout=SETTLE_S).returncode:
            if self._server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"pulseaudio does not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as if the device were pulled out."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    @contextmanager
    def playing(self, wav: Path) -> Iterator[None]:
        player = subprocess.Popen(["paplay", f"--device={SINK}", str(wav)], env=self.env)
        try:
            yield
        finally:
            player.terminate()
            player.wait()
