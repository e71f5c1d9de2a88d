"""Training of streamtag's models: from a folder of clips with targets to a model file.

Imports streamtag's public API, model, decoder and resampler, nothing else of it.
Start reading at `data.dataset` (the input), `train.loop` (training) and `run` (the result).
"""
