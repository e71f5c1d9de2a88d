"""Evaluation: metrics with confidence intervals, calibration, confusions, and scores of continuous streams.

Imports `trainer.data`, `trainer.features` and `trainer.run`; knows nothing of training or of reports.
Start reading at `figures`, which computes everything, and `evaluated_model`, which says what can be evaluated.
"""
