"""`streamtag bench streams`: how many live streams this machine holds, by the engine, over sockets, by processes."""
