"""How the inputs are shown. On a real sound system: tests/audio/test_real_sound_system.py."""

from __future__ import annotations

import io
import sys

import pytest

from streamtag.audio.devices import InputDevice
from streamtag.cli.info import print_inputs
from streamtag.terminal.summary import results_console


def shown(*devices: InputDevice) -> list[str]:
    file = io.StringIO()
    print_inputs(devices, results_console(file))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_every_input_has_a_line_with_its_figures() -> None:
    lines = shown(
        InputDevice(0, "HDA Intel PCH: ALC257 Analog (hw:0,0)", "ALSA", 44100, 2, False),
        InputDevice(11, "[red]Mic[/] of 東京", "JACK Audio Connection Kit", 192000, 32, True),
        InputDevice(None, "Monitor of Output", "PulseAudio", 48000, 2, False),
    )
    assert lines[0].split() == ["index", "rate", "channels", "host", "API", "name"]
    assert lines[1].split()[:5] == ["0", "44100", "Hz", "2", "ALSA"]
    assert lines[1].endswith("  HDA Intel PCH: ALC257 Analog (hw:0,0)")
    assert lines[2].split()[:5] == ["default", "11", "192000", "Hz", "32"]
    assert lines[3].split() == ["system", "-", "48000", "Hz", "2", "PulseAudio", "Monitor", "of", "Output"]
    assert lines[2].endswith("JACK Audio Connection Kit  [red]Mic[/] of 東京")  # a name is text, not markup
    assert lines[1].index("ALSA") == lines[2].index("JACK") == lines[0].index("host API")


@pytest.mark.parametrize(("platform", "word"), [("linux", "--system"), ("darwin", "BlackHole"), ("win32", "--system")])
def test_it_tells_how_the_machines_own_sound_is_heard(
    platform: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert word in " ".join(shown())
    monkeypatch.setattr(sys, "platform", "plan9")
    assert shown() == ["This machine has no sound input."]
