"""`streamtag model`: the card of a model file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from streamtag.sinks.plot_card import CardView
from streamtag.terminal.summary import results_console


def run(model: Path | None, as_json: bool) -> int:
    """Prints the card, for people or as one JSON object. Raises ModelFileError."""
    from streamtag.api import load  # late: torch

    tagger = load(model, "cpu")
    view = CardView(tagger.path, tagger.tags, tagger.thresholds, tagger.card)
    if as_json:
        print(json.dumps(view.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        view.print(results_console(sys.stdout))
    return 0
