"""The section of a report on streams: scores by seconds, after a change of song, and in an endless stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.report import published
from trainer.report.plots import Results
from trainer.report.sections import DASH, score, table, thousands


def streaming(results: Results) -> str:
    """Return the tables of systems that stream, with remarks."""
    moments = results[0]["streaming"]["heard"]["seconds"]
    rows = [
        (str(result["name"]), *(score(value) for value in result["streaming"]["heard"]["mean"])) for result in results
    ]
    by_time = table(("ROC-AUC after", *(f"{moment:g} s" for moment in moments)), rows)
    first = results[0]["streaming"]
    lookahead, clips = first["lookahead_s"], first.get("clips", results[0]["clips"])
    remark = (
        f"Seconds are sound that has arrived: a frame is out {1000 * lookahead:.0f} ms after its centre, which counts. "
        f"The clip's score is the mean of the frames so far. Clips: {thousands(clips)}. {published.STREAMING}"
    )
    return "\n\n".join((by_time, remark, *song_changes(results), *_endless(results)))


def song_changes(results: Results) -> Iterator[str]:
    """Describe how soon a new song's tags are right, and for how long those of the old one stay."""
    share = results[0]["streaming"]["song_change"]["share"]
    rows = [
        (
            f"{result['name']}, {name}", thousands(change.get("clips", result["clips"])), seconds(change["arrived_s"]),
            seconds(change["fresh_arrived_s"]), *(old_left(change, key) for key in ("old_half_s", "old_gone_s")),
        )
        for result in results
        for name, change in changes(result["streaming"]).items()
    ]  # fmt: skip
    yield table(("", "clips", f"{share:.0%} of the new song", "from silence", "old song half gone", "gone"), rows)
    yield (
        f"{share:.0%}: seconds from the change until the last frame's ROC-AUC has that share of its gain above 0.5"
        " over the final 5 s. Old song: from the change on, its ROC-AUC against the tags of the song before exceeds"
        " that from silence, which knows nothing of it; seconds until that excess stays below half and below 5 % of its"
        " first value. A hard cut is one of features; a cross-fade is one of sound, of equal power, and counts from its"
        " start."
    )
    for result in results:
        if why := result["streaming"].get("cross_fade", {}).get("missing"):
            yield f"No cross-fade for {result['name']}: {why}."


def changes(streaming: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the changes of song that were measured, by name."""
    found, fade = {"hard cut": streaming["song_change"]}, streaming.get("cross_fade", {})
    return found if "fade_s" not in fade else {**found, f"cross-fade of {fade['fade_s']:g} s": fade}


def old_left(change: Mapping[str, Any], key: str) -> str:
    """Return the seconds until so much of the old song is gone, or that the clips end before."""
    if change.get("old_carried", [None])[0] is None:
        return DASH
    return seconds(change[key]) if change[key] is not None else f"> {seconds(change['heard_s'][-1])}"


def _endless(results: Results) -> Iterator[str]:
    streams = [(str(r["name"]), r["streaming"]["endless"]) for r in results if "endless" in r["streaming"]]
    if not streams:
        return
    minutes = streams[0][1]["minutes"]
    rows = []
    for name, found in streams:
        ours = dict(zip(found["minutes"], found["roc_auc"], strict=True))
        rows.append((name, score(found["fresh"]), *(score(ours.get(minute)) for minute in minutes)))
    yield table(("ROC-AUC", "from silence", *(f"in minute {minute}" for minute in minutes)), rows)
    yield "In a minute: every clip of the split heard once, as the next one of an endless stream of other clips."


def seconds(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f} s"
