"""The WebSocket server: sockets in and out, the web page, /health and /metrics.

`thread` is the entry; `app` routes a request to `subscriber` (reads messages), `ingest` (sends audio) or `routes`
(plain HTTP); `hub` gives every published message to the subscribers of its stream. `connections` is the only module
that touches sockets. The event loop owns everything here, except where a docstring says otherwise.
May import protocol, audio and scheduler; imports no torch. Start reading at `thread`, then `app`.
"""
