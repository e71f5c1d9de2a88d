"""A whole collection of audio files tagged into tables, on this machine or on a Ray cluster.

Contains the list of files, the journal of results, the runners (threads or Ray actors) and the tables.
May import what lies before it in the layers, such as `audio`, `model`, `inference` and `sinks`; not `api` or `cli`.
Start reading at `files`, then `runner` and `journal`; `cli` connects them.
"""
