"""Concepts of a model file: which tags mean the same, and how probable it is that any of them applies.

Start reading at `table`, then `fit`, which calibrates them by the evidence of `evidence`.
"""
