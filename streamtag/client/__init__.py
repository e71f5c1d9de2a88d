"""The client of a streamtag server: it subscribes and reads messages, whatever happens to the connection.

`subscriber` reads in a thread of its own and reconnects; `address` parses what users write; `retry` decides which
errors are permanent. May import protocol and audio. Start reading at `subscriber`.
"""
