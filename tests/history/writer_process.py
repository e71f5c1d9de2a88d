"""A program that records streams until it is killed, and says on standard output what it has published and when.

python -m tests.history.writer_process FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from streamtag.history.recorder import Recorder
from streamtag.sinks.background import BackgroundSink
from tests.history.conftest import HELLO, frame, switch

STREAMS = 4
TICK_S = 0.02  # a frame of every stream; 13 times as fast as they sound
PERIOD, ON_FRAMES = 7, 3  # a concept goes on with every seventh frame, and off three frames later


def main() -> None:
    recorder = Recorder(Path(sys.argv[1]), lambda text: print(text, file=sys.stderr, flush=True))
    sink = BackgroundSink([recorder], poll=recorder.poll)
    sink.write(HELLO)
    number, next_at = 0, time.monotonic()
    while True:
        for stream in range(STREAMS):
            sink.write(frame(number, guitar=0.6, stream=f"radio {stream}"))
            if number % PERIOD in (0, ON_FRAMES):
                sink.write(switch(number, "off" if number % PERIOD else "on", stream=f"radio {stream}"))
        print(time.monotonic(), number, flush=True)
        number, next_at = number + 1, next_at + TICK_S
        time.sleep(max(0.0, next_at - time.monotonic()))


if __name__ == "__main__":
    main()
