"""Which input is meant, and what is said where there is none."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable

import pytest

from streamtag.audio.devices import MAX_LISTED, InputDevice, find_input, list_inputs
from streamtag.errors import SourceError


def device(index: int, name: str, default: bool = False, api: str = "ALSA") -> InputDevice:
    return InputDevice(index, name, api, 48000, 2, default)


INPUTS = [
    device(0, "HDA Intel PCH: ALC257 Analog (hw:0,0)"),
    device(3, "USB Audio: Mic (hw:1,0)"),
    device(5, "USB Audio: Line (hw:1,1)"),
    device(7, "default", default=True),
    device(12, "5 band mixer"),
]


@pytest.mark.parametrize(
    ("selector", "index"),
    [(None, 7), ("3", 3), (" 7 ", 7), ("mic", 3), ("LINE", 5), ("default", 7), ("5", 5), ("5 band", 12), ("alc257", 0)],
)
def test_an_index_a_name_or_a_part_of_one_finds_it(selector: str | None, index: int) -> None:
    assert find_input(selector, INPUTS).index == index


def test_a_whole_name_and_the_first_device_take_precedence() -> None:
    inputs = [device(2, "Mic Array"), device(3, "Mic")]
    assert find_input("mic", inputs).index == 3
    assert find_input(None, inputs).index == 2  # there is no default


@pytest.mark.parametrize(
    ("selector", "problem", "listed"),
    [
        ("usb", "fits several", ["3 USB Audio: Mic", "5 USB Audio: Line"]),
        ("1", "no such input; there are", ["0 HDA", "3 USB", "5 USB", "7 default", "12 5 band"]),
        ("bluetooth", "no such input; there are", ["7 default"]),
        ("", "no such input; there are", ["7 default"]),
    ],
)
def test_a_selector_that_matches_none_or_several_inputs_is_refused(
    selector: str, problem: str, listed: list[str]
) -> None:
    with pytest.raises(SourceError, match=f"input {selector}: {problem}: ") as caught:
        find_input(selector, INPUTS)
    assert all(name in str(caught.value) for name in listed)


def test_the_same_device_by_several_host_apis_is_that_of_the_default_one() -> None:
    inputs = [device(0, "Mic", api="MME"), device(4, "Mic", default=True, api="WASAPI"), device(9, "Mic", api="WDM")]
    assert find_input("mic", inputs).index == 4
    assert find_input("9", inputs).index == 9


def test_a_long_list_is_cut() -> None:
    with pytest.raises(SourceError, match=r"\.\.\.$") as caught:
        find_input("x", [device(index, f"input {index}") for index in range(MAX_LISTED + 1)])
    assert f"input {MAX_LISTED - 1}" in str(caught.value)
    with pytest.raises(SourceError, match="this machine has none"):
        find_input(None, [])


@pytest.mark.parametrize(
    ("failure", "platform", "advice"),
    [
        (OSError("PortAudio library not found"), "linux", "libportaudio2"),
        (OSError("PortAudio library not found"), "darwin", "brew install portaudio"),
        (OSError("PortAudio library not found"), "win32", "pip install"),
        (ImportError("no module"), "linux", "the package sounddevice is missing"),
        (RuntimeError("Error\ninitializing PortAudio [PaErrorCode -1]"), "linux", "does not start: Error initializing"),
    ],
)
def test_without_portaudio_one_line_says_what_to_install(
    failure: Exception, platform: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual: Callable[..., object] = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name == "sounddevice":
            raise failure
        return usual(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SourceError, match="sound input: ") as caught:
        list_inputs()
    assert advice in str(caught.value)
    assert str(caught.value).isprintable()
