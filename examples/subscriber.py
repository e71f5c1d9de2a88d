"""Prints what a streamtag server tells: the three strongest tags of each frame, and what goes on and off.

streamtag listen --serve 8765        in one terminal, then in another:
python examples/subscriber.py [ws://127.0.0.1:8765/]
"""

import json
import os
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect


def main(address: str) -> None:
    with connect(f"{address}?top=3") as server:  # ?tags=guitar,rock and ?min=0.2 thin the frames too
        for line in server:  # until the server ends
            message = json.loads(line)
            if message["type"] == "frame":
                strongest = "  ".join(f"{tag} {value:.0%}" for tag, value in message["tags"].items())
                print(f"{message['stream']}  {message['end']:7.2f} s  {strongest}", flush=True)
            elif message["type"] == "event":
                print(f"{message['stream']}  {message['time']:7.2f} s  {message['tag']} {message['state']}", flush=True)


address = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765/"
try:
    main(address)
except InvalidStatus as refused:  # a wrong token, or no room
    sys.exit(refused.response.body.decode().strip())
except ConnectionClosed:
    sys.exit(f"{address}: the server is gone")
except BrokenPipeError:  # `| head`: what is printed goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit("nobody reads standard output any more")
except (OSError, WebSocketException) as error:
    sys.exit(f"{address}: {getattr(error, 'strerror', None) or error}")
except KeyboardInterrupt:
    sys.exit(130)
