"""Make evening_ride.mp3, the song of evening_ride.py, to try streamtag with.

    sudo apt install fluidsynth fluid-soundfont-gm
    python examples/make_song.py                          # writes examples/evening_ride.mp3
    python examples/make_song.py --seed 7 other.mp3       # the same score, played a little differently
    python examples/make_song.py song.mid                 # the score alone, as a Standard MIDI File

The score is written as a Standard MIDI File (the same bytes for the same seed), rendered by FluidSynth, scaled to a
peak of -1 dBFS and encoded by PyAV. The sounds are those of the soundfont FluidR3 GM by Frank Wen (MIT licence).
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from evening_ride import PARTS, SECTIONS, Event, Note, compose
from numpy.typing import NDArray

from streamtag.errors import OutputError, SourceError, StreamtagError

TITLE, ARTIST = "Evening Ride", "streamtag"
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
INSTALL = "sudo apt install fluidsynth fluid-soundfont-gm"
RATE, BIT_RATE = 44100, 96_000
SILENCE = 1e-4  # of full scale; below it, nothing was played
GAIN = 0.4  # FluidSynth's; the level is set afterwards, in floating point
PEAK_DB, FADE_S, REVERB_S = -1.0, 2.5, 0.8  # dBFS; length of the fade-out; time after the last note
TICKS_PER_S = 960  # 480 ticks a quarter at MIDI's default tempo, 120 quarters a minute


def midi_file(score: Sequence[Event]) -> bytes:
    """Return a Standard MIDI File of format 0. Each part's program and mix are set where its section starts."""
    timed: list[tuple[int, int, bytes]] = [
        (0, 0, _meta(0x03, TITLE.encode())),
        (0, 0, _meta(0x51, b"\x07\xa1\x20")),
    ]
    for section in SECTIONS:
        names = {e.part for e in score if isinstance(e, Note) and section.start <= e.start < section.end}
        for name in sorted(names):
            part = PARTS[name]
            timed.append((_ticks(section.start), 1, bytes((0xC0 | part.channel, part.program))))
            for controller, value in ((7, part.volume), (10, part.pan), (91, part.reverb)):
                timed.append((_ticks(section.start), 1, bytes((0xB0 | part.channel, controller, value))))
    next_start: dict[tuple[int, int], int] = {}  # tick of the next note with the same channel and pitch
    for event in sorted(score, key=lambda event: event.start, reverse=True):
        channel, start = PARTS[event.part].channel, _ticks(event.start)
        if isinstance(event, Note):
            key = channel, event.pitch
            end = min(_ticks(event.start + event.seconds), next_start.get(key, sys.maxsize))
            if end <= start:  # the same note twice at once
                continue
            next_start[key] = start
            timed.append((start, 3, bytes((0x90 | channel, event.pitch, event.velocity))))
            timed.append((end, 0, bytes((0x80 | channel, event.pitch, 64))))
        else:
            timed.append((start, 2, bytes((0xB0 | channel, 11, event.level))))
    track, now = bytearray(), 0
    for tick, _, message in sorted(timed):  # at one tick: note-offs, settings, swells, note-ons
        track += variable_length(tick - now) + message
        now = tick
    track += b"\x00" + _meta(0x2F, b"")
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_S // 2)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def _meta(kind: int, data: bytes) -> bytes:
    return bytes((0xFF, kind, len(data))) + data


def variable_length(value: int) -> bytes:
    """Return seven bits per byte, most significant first; the top bit is set in all but the last."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def render(midi: bytes, soundfont: Path) -> NDArray[np.float32]:
    """Return the audio of a MIDI file, [2, T] at 44.1 kHz, unscaled. Raises SourceError if it cannot be rendered."""
    player = shutil.which("fluidsynth")
    if player is None:
        raise SourceError(f"fluidsynth: not installed: {INSTALL}")
    if not soundfont.is_file():
        raise SourceError(f"{soundfont}: no such soundfont: {INSTALL}")
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "song.mid"), Path(folder, "song.raw")
        score.write_bytes(midi)
        options = f"-niq -g {GAIN} -r {RATE} -T raw -O float -E little".split()
        options += ["-o", f"synth.default-soundfont={soundfont}"]  # so that it falls back to no other one
        command = [player, *options, "-F", str(sound), str(soundfont), str(score)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        audio = np.fromfile(sound, "<f4") if sound.is_file() else np.zeros(0, np.float32)
    if done.returncode or np.abs(audio).max(initial=0.0) < SILENCE:
        reason = (done.stderr.strip().splitlines() or ["no sound came out"])[0]
        reason = reason.removeprefix("fluidsynth: error: ")
        raise SourceError(f"{soundfont}: fluidsynth cannot play with it: {reason}")
    return np.ascontiguousarray(audio.reshape(-1, 2).T, dtype=np.float32)


def finish(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return audio [2, T] cut to the song's length, faded out, with its peak at PEAK_DB."""
    length = round((SECTIONS[-1].end + REVERB_S) * RATE)
    audio = np.pad(audio[:, :length], ((0, 0), (0, max(0, length - audio.shape[1]))))
    fade = round(FADE_S * RATE)
    audio[:, -fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    return audio * np.float32(10 ** (PEAK_DB / 20) / np.abs(audio).max())


def encode(audio: NDArray[np.float32], path: Path) -> None:
    """Write audio [2, T] as an MP3 with title and artist. Raises OutputError."""
    try:
        with av.open(str(path), "w", format="mp3") as container:
            container.metadata.update(title=TITLE, artist=ARTIST)
            stream = container.add_stream("mp3", rate=RATE, layout="stereo")
            stream.bit_rate = BIT_RATE
            frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout="stereo")
            frame.sample_rate = RATE
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
    except OSError as error:  # PyAV raises them for the file system, too
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(description="Make the example song.")
    parser.add_argument("output", nargs="?", type=Path, default=Path(__file__).with_name("evening_ride.mp3"))
    parser.add_argument("--seed", type=int, default=0, help="of the timing and velocity variations (default: 0)")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT)
    options = parser.parse_args(arguments)
    midi = midi_file(compose(options.seed))
    try:
        if options.output.suffix == ".mid":
            write(midi, options.output)
        else:
            encode(finish(render(midi, options.soundfont)), options.output)
    except StreamtagError as error:
        print(f"make_song: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {options.output.stat().st_size} bytes")
    return 0


def write(midi: bytes, path: Path) -> None:
    """Write the MIDI file itself. Raises OutputError."""
    try:
        path.write_bytes(midi)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
