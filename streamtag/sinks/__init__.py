"""Results to files and networks: JSON lines, CSV, label tracks, plots, recordings, OSC, WAV.

A sink gets the messages of streams, one by one. `base` defines the interface and the group that keeps a failing sink
from harming the others; `background` writes from a thread of its own where a reader may be slow.
May import protocol, audio and inference; never terminal, server, client or scheduler. Start with `base` and `jsonl`.
"""
