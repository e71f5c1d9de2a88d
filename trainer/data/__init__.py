"""Data sets: fetching MagnaTagATune, reading and checking it or a folder in the trainer's own format.

Imports nothing of the trainer outside this package except `trainer.files`, and of streamtag only its errors.
Start reading at `dataset`, which describes both formats, and at `manifest`, which holds what was read.
"""
