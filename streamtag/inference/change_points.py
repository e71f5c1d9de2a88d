"""The times at which the music of a long recording changes, from the probabilities of its concepts.

Candidates are the peaks of a novelty curve: the correlation of the self-similarity matrix with a checkerboard kernel
along its diagonal (Foote, "Automatic audio segmentation using a measure of audio novelty", 2000). With the inner
product as similarity it is the squared distance between the means of the windows before and after each frame, which
takes linear time. Of the candidates, optimal partitioning chooses those with the least sum of squares within segments
plus a penalty for each segment (Jackson et al., "An algorithm for optimal partitioning of data on an interval", 2005).
The values are log odds, in which rare concepts count as much as frequent ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Chosen on nine concatenations of real recordings, of 14 songs each; see CHANGELOG.md for the scores on nine others.
WINDOW_S = 8.0  # before and after a candidate
MIN_DISTANCE_S = 10.0  # between candidates
MIN_SEGMENT_S = 10.0
PENALTY = 700.0  # of a segment, in squared log odds times seconds
DELAY_S = 0.8  # by which the network follows the music
MIN_PROBABILITY = 1e-4


def find_change_points(probs: NDArray[np.floating], hop_s: float) -> Floats:
    """Return the times of the changes in probs [F, K] in ascending order, in seconds from the first frame.

    Time and memory grow with F, but for a term in the square of the number of candidates, at most one per
    MIN_DISTANCE_S: small beside the network's own work for many hours of sound.
    """
    if not len(probs):
        return np.zeros(0)
    window, distance = round(WINDOW_S / hop_s), round(MIN_DISTANCE_S / hop_s)
    probs = np.clip(probs.astype(np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    sums = _cumulative(np.log(probs / (1 - probs)))
    candidates = _peaks(_novelty(sums, window), distance)
    edges = np.concatenate(([0], candidates, [len(probs)]))
    squares = _cumulative(np.square(np.diff(sums, axis=0)).sum(axis=1))
    changes = _partition(edges, sums, squares, PENALTY / hop_s, MIN_SEGMENT_S / hop_s)
    return np.asarray(np.maximum(0.0, changes * hop_s - DELAY_S))


def _cumulative(values: Floats) -> Floats:
    """Return sums over the first axis, from 0 on [n + 1, ...]."""
    return np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)))


def _novelty(sums: Floats, window: int) -> Floats:
    """Return for each frame [F] the squared distance between the means of the windows before and after its start.

    sums [F + 1, K]: cumulative. Windows are shorter at both ends.
    """
    frames = np.arange(len(sums) - 1)
    before, after = np.maximum(0, frames - window), np.minimum(len(sums) - 1, frames + window)
    mean_before = (sums[frames] - sums[before]) / np.maximum(1, frames - before)[:, np.newaxis]
    mean_after = (sums[after] - sums[frames]) / (after - frames)[:, np.newaxis]
    novelty = np.square(mean_after - mean_before).sum(axis=1)
    novelty[:1] = 0
    return np.asarray(novelty)


def _peaks(curve: Floats, distance: int) -> NDArray[np.int64]:
    """Return the frames at which a curve [F] is higher than anywhere else within `distance` frames, ascending."""
    padded = np.pad(curve, distance, constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * distance + 1).max(axis=1)
    return np.flatnonzero((curve == highest) & (curve > 0))


def _partition(
    edges: NDArray[np.int64], sums: Floats, squares: Floats, penalty: float, min_frames: float
) -> NDArray[np.int64]:
    """Return the edges inside [0, F] that the best partition keeps.

    edges: 0, the candidates, F. sums [F + 1, K], squares [F + 1]: cumulative values and squared values.
    """
    costs = np.full(len(edges), np.inf)
    costs[0] = -penalty
    previous = np.zeros(len(edges), np.int64)
    for last in range(1, len(edges)):
        starts, end = edges[:last], edges[last]
        lengths = end - starts
        inside = squares[end] - squares[starts] - np.square(sums[end] - sums[starts]).sum(axis=1) / lengths
        total = costs[:last] + inside + penalty
        total[(lengths < min_frames) & (starts > 0)] = np.inf  # a whole recording may be as short as it is
        previous[last] = np.argmin(total)
        costs[last] = total[previous[last]]
    kept = []
    last = int(previous[-1])
    while last > 0:
        kept.append(edges[last])
        last = int(previous[last])
    return np.array(kept[::-1], np.int64)
