"""Move a running stream from one `streamtag serve` to another, where it continues without a break.

python examples/move_a_stream.py mic http://first:8765 http://second:8765

Then its producer connects to the second server with the position that is printed, and sends its audio from there.
"""

import argparse
import json
import sys
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

parser = argparse.ArgumentParser(description="Move a running stream to another server.")
parser.add_argument("name", help="of the stream")
parser.add_argument("source", metavar="http://first:8765")
parser.add_argument("target", metavar="http://second:8765")
parser.add_argument("token", nargs="?", help="of both servers, if they need one")
args = parser.parse_args()
source, target = args.source.rstrip("/"), args.target.rstrip("/")
name = quote(args.name, safe="")
path = f"/streams/{name}/state" + (f"?token={quote(args.token, safe='')}" if args.token else "")

try:
    with urlopen(source + path) as response:
        state = response.read()
except HTTPError as refused:
    sys.exit(refused.read().decode().strip())
except (URLError, ValueError) as error:
    sys.exit(f"{source}: {getattr(error, 'reason', error)}")
try:
    with connect("ws" + target.removeprefix("http") + path) as server:
        server.send(state)
        message = json.loads(server.recv())
except InvalidStatus as refused:
    sys.exit(refused.response.body.decode().strip())
except (OSError, WebSocketException) as error:
    sys.exit(f"{target}: {getattr(error, 'strerror', None) or error}")
if message["type"] != "ready":
    sys.exit(f"{args.name}: {message['message']}")
url = f"{target}/ingest/{name}?position={message['position']}"
print(f"{args.name}: {len(state) / 1024:.0f} KiB moved; it continues at {url.replace('http', 'ws', 1)}")
