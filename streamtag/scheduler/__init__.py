"""Many live streams in one process: bytes of producers in, messages of all streams out."""
