"""Results on screen: the live view, the progress of files, the table of a server's streams, summaries, lines.

The views are sinks (see `streamtag.sinks.base`). Views draw at their own rate from a thread of their own, so that
drawing never delays the stream. May import protocol, audio, inference and sinks; never server, client or scheduler.
Start with `summary` and `lines`; then `live_panel`, which keeps the state of the live view, and `live_view`, which
draws it from `widgets`.
"""
