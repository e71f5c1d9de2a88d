"""`streamtag help`: the help of the program and its commands, and what programs on the other side of a socket need."""

from __future__ import annotations

from typing import Annotated

import typer

from streamtag.cli.app import COMMANDS, as_command, run_program
from streamtag.cli.program import UsageError

PROTOCOL = """\
The protocol: one JSON object per WebSocket message, and per line with --json.

Messages
  hello   first: tags, concepts and thresholds of the model; hop_s, window_s
          and lookahead_s: the time from a window's centre to its frame;
          streams: for subscribers, those that run now, at most 64
  frame   stream, frame (its number), start and end of the window, tags and
          concepts with their probabilities; omitted if they are empty:
          latency_s (live streams), dropped (frames lost before this one,
          because the reader was too slow)
  event   stream, concept (also as tag), state (on or off), time
  history stream, and its recent past for a late subscriber, before the first
          frame: times of the frames kept, tags and concepts with a list of
          probabilities each, present: the concepts that are on, events, gaps;
          the latest frame is not in it but follows as a frame
  gap     stream, start, lost_s: audio that was lost; there is no frame for it
  end     stream, seconds, frames, summary: the mean of each tag; concepts:
          that of each concept; present_s: for how long each was present
  error   message, for people; stream, if it is about one
  Times are seconds of the stream. Readers ignore fields and types that they
  do not know.

Subscribers: ws://HOST:PORT/ for all streams, /streams/NAME for one
  tags=guitar,rock   only these tags, and the concepts that have one of them
  concepts=drums     only these concepts, and the tags that belong to them
  history=120        as many seconds of the past of each stream, 300 at most;
                     the server keeps 120, and sends less of many streams
  top=5  min=0.2     the strongest, from this probability on; for tags and
                     concepts separately
  token=TOKEN        the password, if one is needed; or the header
                     Authorization: Bearer TOKEN
  A slow subscriber loses its oldest frames. After 10 s without any progress
  it is closed with code 1013.

Producers: ws://HOST:PORT/ingest/NAME?rate=48000&format=s16le&channels=1
  Only `streamtag serve` accepts them. They send raw PCM as binary messages of
  any length up to 1 MiB.
  NAME       1 to 64 characters, percent-encoded, without /
  rate       Hz, 16000 by default
  format     s16le (default) or f32le
  channels   1 (default) to 8, interleaved
  position   of the first sample in the stream, for producers that reconnect
  token      as for subscribers; top, tags, concepts and min filter replies
  They receive hello, ready (with the position to continue from), and the
  messages of their own stream. The text message {"type":"end"} ends the
  stream. After a broken connection the producer can reconnect within 10 s and
  continue; with position, what is missing becomes a gap.
  400  a name or parameter is invalid   409  a producer of that name is there
  401  a token is needed                429  too many streams of one address
  503  no room, or overloaded: Retry-After says when to ask again

On the same port, by HTTP
  /                     the web page
  /health               starting, ready or degraded, and the room for streams
  /metrics              counts, for Prometheus
  /api/history          with --history: what was heard between two times
    from, to            Unix times; by default the last 24 hours, at most 31
                        days
    resolution          seconds of each bin; at most 1500 bins
    stream              only this one; by default the 64 heard longest
    JSON: from, to, now, resolution, first_at and last_at of the history, and
    of each stream: heard, the percentage of each bin in which it ran; gaps,
    the longest 100 as [time, lost_s]; gap_count, lost_s; concepts with their
    seconds and present, the percentage of each bin. 503 with Retry-After
    while two such requests are being answered, or the file cannot be read
  /streams/NAME/state   a stream's state; sent to
                        ws://OTHER/streams/NAME/state it continues there
  Pages of other origins are rejected unless --allow-origin names them.
"""

TOPICS = (*COMMANDS, "protocol")
EPILOG = """\b
Examples:
  streamtag help file
  streamtag help protocol
"""


@as_command("help", EPILOG)
def help(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND|protocol",
            help="A command, or the protocol of sockets and --json.",
            autocompletion=lambda incomplete: [topic for topic in TOPICS if topic.startswith(incomplete)],
        ),
    ] = None,
) -> int:
    """Show the help of the program, of a command, or of the protocol."""
    if topic == "protocol":
        print(PROTOCOL, end="")
        return 0
    if topic is not None and topic not in TOPICS:
        raise UsageError(f"{topic}: no such topic: name a command, or protocol", hint="streamtag help")
    return run_program([*([topic] if topic else []), "--help"])
