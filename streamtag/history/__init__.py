"""A history of streams in an SQLite file: what was heard when, and the means of every minute.

`schema` defines the tables, opens files and migrates them; `recorder` writes messages (`session` collects them, `file`
stores them, `retention` deletes old ones), `reader` reads them. May import `protocol`,
`audio` and `inference`, and uses no socket.
Start reading in `schema`.
"""
