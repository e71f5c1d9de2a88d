"""How fast features are made and systems are trained here, on made-up data of MagnaTagATune's size.

Ratios hold within one run on one machine; absolute times do not travel. Everything is measured on a stated share of
the work and said so: an epoch's time is a step's time, times the steps that an epoch has.
"""
