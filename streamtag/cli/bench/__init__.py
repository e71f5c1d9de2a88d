"""What the command line does, a command a file: the wiring between sources, streams and sinks."""
