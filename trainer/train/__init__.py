"""Training: settings and recipes, the sampled sequences and their augmentation, and the loop with its checkpoints.

Imports `trainer.data`, `trainer.features`, `trainer.systems` and `trainer.run`, which reads a finished run.
Start reading at `loop`; `config` holds all settings, and `sampler` decides what a step contains.
"""
