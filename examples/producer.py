"""Sends a sound file to `streamtag serve` as if it were played now, and prints its tags as they come back.

streamtag serve 8765        in one terminal, then in another:
python examples/producer.py song.mp3 [ws://127.0.0.1:8765/ingest/NAME]
"""

import json
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import av
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

RATE = 16000  # any other would do: the server resamples


def send(path: str, server: ClientConnection) -> None:
    resampler, began, sent = av.AudioResampler("s16", "mono", RATE), time.monotonic(), 0
    with av.open(path) as file:
        for decoded in file.decode(audio=0):
            for piece in resampler.resample(decoded):
                server.send(piece.to_ndarray().tobytes())
                sent += piece.samples
                time.sleep(max(0.0, began + sent / RATE - time.monotonic()))
    server.send('{"type":"end"}')


song = sys.argv[1]
address = sys.argv[2] if len(sys.argv) > 2 else f"ws://127.0.0.1:8765/ingest/{quote(Path(song).name, safe='')}"
try:
    server = connect(f"{address}?rate={RATE}&format=s16le&top=3")
except InvalidStatus as refused:  # a full server says busy, and with Retry-After when to come again
    sys.exit(refused.response.body.decode().strip())
with server:
    threading.Thread(target=send, args=(song, server), daemon=True).start()
    for line in server:  # until the server has told the end
        message = json.loads(line)
        if message["type"] in ("frame", "end"):
            strongest = message["tags"] if message["type"] == "frame" else message["summary"]
            told = "  ".join(f"{tag} {value:.0%}" for tag, value in strongest.items())
            at = message["end"] if message["type"] == "frame" else message["seconds"]
            print(f"{message['type']:5}  {at:7.2f} s  {told}", flush=True)
