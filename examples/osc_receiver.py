"""Prints what streamtag sends by Open Sound Control: the strongest tag of each frame, and what goes on and off.

python examples/osc_receiver.py [9000]        in one terminal, then in another:
streamtag listen --osc 127.0.0.1:9000
"""

import sys

try:
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import BlockingOSCUDPServer
except ModuleNotFoundError:
    sys.exit("python-osc is missing: pip install python-osc")

frame: dict[str, float] = {}


def tag(address: str, value: float) -> None:
    frame[address.removeprefix("/streamtag/")] = value


def whole(_address: str, stream: str, _number: int, time: float) -> None:
    """A frame's tags have all come."""
    if frame:
        strongest = max(frame, key=lambda name: frame[name])
        print(f"{stream}  {time:7.2f} s  {strongest} {frame[strongest]:.0%}", flush=True)


def event(_address: str, stream: str, name: str, state: str, time: float) -> None:
    print(f"{stream}  {time:7.2f} s  {name} {state}", flush=True)


dispatcher = Dispatcher()
dispatcher.map("/streamtag/frame", whole)
dispatcher.map("/streamtag/event", event)
for other in ("gap", "error", "end"):
    dispatcher.map(f"/streamtag/{other}", lambda address, *values: print(address, *values, flush=True))
dispatcher.set_default_handler(tag)  # all other addresses are tags

port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
try:
    with BlockingOSCUDPServer(("127.0.0.1", port), dispatcher) as server:
        print(f"listening on port {server.server_address[1]}", flush=True)
        server.serve_forever()
except OSError as error:
    sys.exit(f"port {port}: {error.strerror}")
except KeyboardInterrupt:
    sys.exit(130)
