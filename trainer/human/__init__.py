"""Human tags of whole tracks: reading them, dividing their artists into folds, and scoring models against them.

Start reading at `tracks`, which describes the folder, and `figures`, which scores.
"""
