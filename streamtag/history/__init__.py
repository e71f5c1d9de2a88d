"""A history of streams in an SQLite file: what was heard when, and the means of every minute.

`schema` defines the tables, opens files and migrates them; `recorder` writes messages (`session` collects them, `file`
stores them and deletes old ones), `reader` reads them. May import `protocol`, `audio` and `inference`; no sockets.
Start reading in `schema`.
"""
