"""Moves a running stream from one `streamtag serve` to another, where it goes on as if nothing had happened.

python examples/move_a_stream.py mic http://first:8765 http://second:8765 [TOKEN]

Then its producer connects to the second server with the position that is printed, and sends its sound from there.
"""

import json
import sys
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

if not 4 <= len(sys.argv) <= 5:
    sys.exit("usage: move_a_stream.py NAME http://first:8765 http://second:8765 [TOKEN]")
name, first, second = sys.argv[1], sys.argv[2].rstrip("/"), sys.argv[3].rstrip("/")
token = f"?token={quote(sys.argv[4], safe='')}" if len(sys.argv) > 4 else ""
path = f"/streams/{quote(name, safe='')}/state{token}"

try:
    with urlopen(first + path) as answer:  # what the network remembers, some hundred KiB
        state = answer.read()
except HTTPError as refused:
    sys.exit(refused.read().decode().strip())
except (URLError, ValueError) as error:
    sys.exit(f"{first}: {getattr(error, 'reason', error)}")
try:
    with connect("ws" + second.removeprefix("http") + path) as server:
        server.send(state)
        message = json.loads(server.recv())
except InvalidStatus as denied:
    sys.exit(denied.response.body.decode().strip())
except (OSError, WebSocketException) as error:
    sys.exit(f"{second}: {getattr(error, 'strerror', None) or error}")
if message["type"] != "ready":
    sys.exit(f"{name}: {message['message']}")
where = f"{second}/ingest/{quote(name, safe='')}?position={message['position']}"
print(f"{name}: {len(state) / 1024:.0f} KiB moved; it goes on at {where.replace('http', 'ws', 1)}")
