"""From sound files to cached features: decoding, augmentation, frontends, the frame store and its extraction.

Imports `trainer.data`, `trainer.files`, and streamtag's model, decoder and resampler.
Start reading at `cache`, which describes what is stored, then `extraction`, which computes it.
"""
