"""Messages on the wire and in JSON lines: one JSON object per message.

`messages` defines and writes them, `reader` parses them, `selection` chooses tags and concepts, `queues` holds
messages for slow readers. Imports nothing else of streamtag but `errors` and `text`. Start reading at `messages`.
"""
