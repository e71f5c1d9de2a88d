"""Where tags go: the terminal, JSON lines, tables, label tracks, pictures. Imports no torch."""
