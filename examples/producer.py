"""Send an audio file to `streamtag serve` in real time, and print its concepts as they arrive.

streamtag serve 8765        in one terminal, then in another:
python examples/producer.py song.mp3
"""

import argparse
import json
import os
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

RATE = 16000  # the server resamples any other rate


class Sender(threading.Thread):
    """Send the file in real time, then `end`. problem: why not all of it was sent; None while that is unknown."""

    def __init__(self, file: InputContainer, server: ClientConnection) -> None:
        super().__init__(daemon=True)
        self.file, self.server = file, server
        self.problem: str | None = None

    def run(self) -> None:
        resampler, began, sent, problem = av.AudioResampler("s16", "mono", RATE), time.monotonic(), 0, ""
        with suppress(ConnectionClosed):  # the receiving thread sees it, too
            try:
                for decoded in self.file.decode(audio=0):
                    for frame in resampler.resample(decoded):
                        self.server.send(frame.to_ndarray().tobytes())
                        sent += frame.samples
                        time.sleep(max(0.0, began + sent / RATE - time.monotonic()))
            except av.FFmpegError as error:
                problem = f"{self.file.name}: {error.strerror}"
            self.server.send('{"type":"end"}')
            self.problem = problem


def receive(server: ClientConnection) -> str:
    """Print frames until the server closes the connection, and return its reason."""
    with suppress(ConnectionClosed):
        for line in server:
            message = json.loads(line)
            if message["type"] in ("frame", "end"):
                is_frame = message["type"] == "frame"
                at = message["end"] if is_frame else message["seconds"]
                top = "  ".join(f"{name} {value:.2f}" for name, value in message.get("concepts", {}).items())
                print(f"{message['type']:5}  {at:7.2f} s  {top}", flush=True)
    return server.close_reason or "connection lost"


def main(song: str, url: str) -> None:
    with av.open(song, metadata_errors="replace") as file:
        if not file.streams.audio:
            sys.exit(f"{song}: no audio in it")
        with connect(f"{url}?rate={RATE}&format=s16le&top=3") as server:
            sender = Sender(file, server)
            sender.start()
            reason = receive(server)
        sender.join()
    if problem := f"{url}: {reason}" if sender.problem is None else sender.problem:
        sys.exit(problem)


parser = argparse.ArgumentParser(description="Send an audio file to `streamtag serve` in real time.")
parser.add_argument("song", metavar="song.mp3")
parser.add_argument("url", nargs="?", help="default: ws://127.0.0.1:8765/ingest/song.mp3")
args = parser.parse_args()
url = args.url or f"ws://127.0.0.1:8765/ingest/{quote(Path(args.song).name, safe='')}"
try:
    main(args.song, url)
except av.FFmpegError as error:
    sys.exit(f"{args.song}: {error.strerror}")
except InvalidStatus as refused:  # a full server answers 503, with Retry-After
    sys.exit(refused.response.body.decode().strip())
except BrokenPipeError:  # the reader, such as `head`, has ended
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit("nobody reads standard output any more")
except (OSError, WebSocketException) as error:
    sys.exit(f"{url}: {getattr(error, 'strerror', None) or error}")
except KeyboardInterrupt:
    sys.exit(130)
