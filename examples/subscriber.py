"""Print what a streamtag server publishes: the three strongest concepts of each frame, and those that turn on and off.

streamtag listen --serve 8765        in one terminal, then in another:
python examples/subscriber.py
"""

import argparse
import json
import os
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect


def main(url: str) -> None:
    with connect(f"{url}?top=3") as server:  # ?concepts=guitar,rock and ?min=0.2 filter frames, too
        for line in server:
            message = json.loads(line)
            if message["type"] == "frame":
                concepts = message.get("concepts", message["tags"])  # older servers only have tags
                top = "  ".join(f"{name} {value:.2f}" for name, value in concepts.items())
                print(f"{message['stream']}  {message['end']:7.2f} s  {top}", flush=True)
            elif message["type"] == "event":
                print(f"{message['stream']}  {message['time']:7.2f} s  {message['tag']} {message['state']}", flush=True)


parser = argparse.ArgumentParser(description="Print the tags that a streamtag server publishes.")
parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8765/", help="default: %(default)s")
url = parser.parse_args().url
try:
    main(url)
except InvalidStatus as refused:  # a wrong token, or too many clients
    sys.exit(refused.response.body.decode().strip())
except ConnectionClosed:
    sys.exit(f"{url}: connection lost")
except BrokenPipeError:  # the reader, such as `head`, has ended
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit("nobody reads standard output any more")
except (OSError, WebSocketException) as error:
    sys.exit(f"{url}: {getattr(error, 'strerror', None) or error}")
except KeyboardInterrupt:
    sys.exit(130)
