"""The commands of `python -m trainer`, one a file, each a function `command`.

A file here imports nothing slow (no torch, no scikit-learn, no rich) before its command runs, so that help answers at
once. What a command says on the terminal is written here; what it does lies in the modules beside.
"""
