"""What is present in a stream at the moment, for the marks of views and tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.events import EventDetector
from streamtag.protocol.messages import Event, Frame, History
from streamtag.protocol.selection import Selection


class PresentNow:
    """Which labels of one stream are on. on [P + K]: as events say it.

    Until a concept's first event its threshold decides, since the reader may have come late. The tags of a model with
    concepts have no events: an event detector of their own decides, where any of them is shown.
    """

    def __init__(self, selection: Selection) -> None:
        count = len(selection.tags)
        self.on = np.zeros(len(selection.labels), np.bool_)
        self._is_known = self.on.copy()
        self._thresholds = np.array(selection.thresholds)
        self._concepts = {concept.name: count + n for n, concept in enumerate(selection.concepts)}
        self._tags = {tag: column for column, tag in enumerate(selection.tags)}
        self._detector: EventDetector | None = None
        if selection.concepts and selection.chosen[0] < count:
            self._detector = EventDetector(selection.tags, selection.tag_thresholds)

    def add_frame(self, frame: Frame, probs: NDArray[np.float64]) -> None:
        """Update what is known from the probabilities alone [P + K]."""
        self.on = np.where(self._is_known, self.on, probs >= self._thresholds)
        if self._detector is not None:
            count = len(self._tags)
            self._detector.update(probs[:count].astype(np.float32), (frame.start + frame.end) / 2)
            self.on[:count] = self._detector.on

    def past(self, history: History, probs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which labels were on [F, P + K] at the times of a history with these probabilities [F, P + K].

        Tags without events are compared with their thresholds.
        """
        on = np.asarray(probs >= self._thresholds)
        times = np.array(history.times)
        for name, column in (self._concepts or self._tags).items():
            on[:, column] = name in history.present
            for event in reversed(history.events):  # from now back: before each change the state was the other one
                if event.tag == name:
                    on[times < event.time, column] = event.state == "off"
        return on

    def add_event(self, event: Event) -> None:
        """Update what the event is about."""
        columns = self._tags if event.concept is None else self._concepts
        column = columns.get(event.tag)
        if column is not None:
            self.on[column], self._is_known[column] = event.state == "on", True

    def set_present(self, names: tuple[str, ...]) -> None:
        """Note that exactly the concepts of these names are on; tags in a model without concepts."""
        for name, column in (self._concepts or self._tags).items():
            self.on[column], self._is_known[column] = name in names, True
