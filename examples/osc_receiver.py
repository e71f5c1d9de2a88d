"""Print what streamtag sends by Open Sound Control: the strongest of each frame, and what turns on and off.

python examples/osc_receiver.py        in one terminal, then in another:
streamtag listen --osc 127.0.0.1:9000
"""

import argparse
import sys

try:
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import BlockingOSCUDPServer
except ModuleNotFoundError:
    sys.exit("python-osc is missing: pip install python-osc")

probs: dict[str, float] = {}  # of the current frame


def on_tag(address: str, value: float) -> None:
    probs[address.rpartition("/")[2]] = value


def on_frame(_address: str, stream: str, _number: int, time: float) -> None:
    """Print a frame whose tags have all arrived."""
    if probs:
        tag = max(probs, key=lambda name: probs[name])
        print(f"{stream}  {time:7.2f} s  {tag} {probs[tag]:.2f}", flush=True)


def on_event(_address: str, stream: str, tag: str, state: str, time: float) -> None:
    print(f"{stream}  {time:7.2f} s  {tag} {state}", flush=True)


dispatcher = Dispatcher()
dispatcher.map("/streamtag/frame", on_frame)
dispatcher.map("/streamtag/event", on_event)
for kind in ("gap", "error", "end"):
    dispatcher.map(f"/streamtag/{kind}", lambda address, *values: print(address, *values, flush=True))
dispatcher.set_default_handler(on_tag)  # all other addresses are tags and concepts

parser = argparse.ArgumentParser(description="Print what streamtag sends by Open Sound Control.")
parser.add_argument("port", type=int, nargs="?", default=9000, help="default: %(default)s")
port = parser.parse_args().port
try:
    with BlockingOSCUDPServer(("127.0.0.1", port), dispatcher) as server:
        print(f"listening on port {server.server_address[1]}", flush=True)
        server.serve_forever()
except OSError as error:
    sys.exit(f"port {port}: {error.strerror}")
except KeyboardInterrupt:
    sys.exit(130)
