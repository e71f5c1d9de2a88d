"""The speed of feature extraction and training, on synthetic data of MagnaTagATune's size.

Ratios are valid within one run on one machine; absolute times are not comparable. Everything is measured on a stated
share of the work: the time of an epoch is the time of a step, times the steps of an epoch.
Start reading at `training`.
"""
