"""The commands of `python -m trainer`, one module each: options, and the calls that carry them out.

Imports everything in the trainer. Modules import only light packages at the top, so that `--help` responds at once.
Start reading at `train`; `options` has the shared options, `tables` what is printed.
"""
