"""Many live streams in one process: bytes of producers in, messages of all streams out.

Contains the step order, capacity, deadlines and shedding. May import `protocol`, `audio` and `inference`, never
`server`, `sinks` or `cli`. Start reading at `scheduler.Scheduler`, whose docstring follows the bytes and states the
locks; then `ingest_buffer`, `stream` and `processor`.
"""
