"""Part c: how many clips per second the front end transforms."""

from __future__ import annotations

import torch

from streamtag.model import Scattering, ScatteringSpec
from tests.benchmarks.gpu_parts.report import DONE, Report
from tests.benchmarks.gpu_parts.settings import (
    CLIP_SAMPLES,
    MAGNATAGATUNE_CLIPS,
    SAMPLE_RATE,
    Settings,
    noise,
    peak_memory_gib,
    seconds_each,
)


@torch.inference_mode()
def run(report: Report, settings: Settings) -> None:
    scattering = Scattering(ScatteringSpec()).to(settings.device)
    samples, best = settings.size(CLIP_SAMPLES, 3 * SAMPLE_RATE), 0.0
    for clips in settings.size((1, 8, 32, 128), (1, 2)):
        host = torch.from_numpy(noise(clips, samples))
        host = host.pin_memory() if settings.device.type == "cuda" else host
        audio = host.to(settings.device)
        alone = min(seconds_each(lambda audio=audio: scattering(audio), settings.size(10, 1)))  # type: ignore[misc]
        copied = min(
            seconds_each(
                lambda host=host: scattering(host.to(settings.device, non_blocking=True)).cpu(),  # type: ignore[misc]
                settings.size(10, 1),
            )
        )
        best = max(best, clips / copied)
        report.write(
            f"{clips} clips at once",
            clips_per_s=clips / alone,
            clips_per_s_with_copies=clips / copied,
            times_real_time=clips * samples / SAMPLE_RATE / copied,
        )
    report.write(
        "all of MagnaTagATune",
        clips=MAGNATAGATUNE_CLIPS,
        seconds=MAGNATAGATUNE_CLIPS / best * (CLIP_SAMPLES / samples),
        peak_memory_gib=peak_memory_gib(),
    )
    report.write(DONE)
