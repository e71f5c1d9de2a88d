"""Sends a sound file to `streamtag serve` as if it were played now, and prints its tags as they come back.

streamtag serve 8765        in one terminal, then in another:
python examples/producer.py song.mp3 [ws://127.0.0.1:8765/ingest/NAME]
"""

import json
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import av
from av.container import InputContainer
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

RATE = 16000  # any other would do: the server resamples


def send(file: InputContainer, server: ClientConnection, outcome: "queue.SimpleQueue[str]") -> None:
    """The file, at the pace of its sound. outcome: gets "" when all is sent, or what is wrong with the file."""
    resampler, began, sent = av.AudioResampler("s16", "mono", RATE), time.monotonic(), 0
    wrong = ""
    with suppress(ConnectionClosed):  # whoever reads sees it too
        try:
            for decoded in file.decode(audio=0):
                for piece in resampler.resample(decoded):
                    server.send(piece.to_ndarray().tobytes())
                    sent += piece.samples
                    time.sleep(max(0.0, began + sent / RATE - time.monotonic()))
        except av.FFmpegError as error:
            wrong = f"{file.name}: {error.strerror}"
        server.send('{"type":"end"}')
        outcome.put(wrong)


def receive(server: ClientConnection) -> str:
    """Prints until the server has told the end, or is gone. -> why it closed the connection, if it said so."""
    try:
        for line in server:
            message = json.loads(line)
            if message["type"] in ("frame", "end"):
                strongest = message["tags"] if message["type"] == "frame" else message["summary"]
                told = "  ".join(f"{tag} {value:.0%}" for tag, value in strongest.items())
                at = message["end"] if message["type"] == "frame" else message["seconds"]
                print(f"{message['type']:5}  {at:7.2f} s  {told}", flush=True)
    except ConnectionClosed:
        pass
    return server.close_reason or "the server is gone"


def main(song: str, address: str) -> None:
    with av.open(song) as file:
        if not file.streams.audio:
            sys.exit(f"{song}: there is no sound in it")
        with connect(f"{address}?rate={RATE}&format=s16le&top=3") as server:
            outcome: queue.SimpleQueue[str] = queue.SimpleQueue()
            sender = threading.Thread(target=send, args=(file, server, outcome), daemon=True)
            sender.start()
            why = receive(server)
        sender.join()
    if wrong := f"{address}: {why}" if outcome.empty() else outcome.get():
        sys.exit(wrong)


if not 2 <= len(sys.argv) <= 3:
    sys.exit("usage: producer.py song.mp3 [ws://127.0.0.1:8765/ingest/NAME]")
song = sys.argv[1]
address = sys.argv[2] if len(sys.argv) > 2 else f"ws://127.0.0.1:8765/ingest/{quote(Path(song).name, safe='')}"
try:
    main(song, address)
except av.FFmpegError as error:
    sys.exit(f"{song}: {error.strerror}")
except InvalidStatus as refused:  # a full server says busy, and with Retry-After when to come again
    sys.exit(refused.response.body.decode().strip())
except BrokenPipeError:  # `| head`: what is printed goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit("nobody reads standard output any more")
except (OSError, WebSocketException) as error:
    sys.exit(f"{address}: {getattr(error, 'strerror', None) or error}")
except KeyboardInterrupt:
    sys.exit(130)
