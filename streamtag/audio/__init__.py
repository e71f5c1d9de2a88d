"""Time: sound as it comes (source, resample), one stream's state (session), what went on and off (events)."""
