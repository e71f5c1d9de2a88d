"""`streamtag bench`: the speed of the front end, a hop and a file; the latency of a live stream; stream capacity."""
