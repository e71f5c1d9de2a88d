"""All that a run learns from and is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainer.data.manifest import Array
from trainer.features.cache import TRAIN, Cache
from trainer.features.levels import level_offsets
from trainer.features.normalization import Normalizer, fit, normalizer
from trainer.targets import clip_targets
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, load

VALID = "valid"


@dataclass(frozen=True)
class Data:
    """targets [n, C]: of the validation clips. normalize: fitted to the training clips as they are.

    offsets [2, P]: what a decibel of loudness, and of tilt per octave, adds to the features.
    """

    training: FeatureDataset
    valid: FeatureDataset
    tags: tuple[str, ...]
    targets: Array
    hop_s: float
    normalize: Normalizer
    offsets: Array


def load_data(cache: Cache, config: TrainConfig, passes: int, tick: Callable[[], None]) -> Data:
    """Look through the cache; `tick` is called for each training clip. Raises ManifestError if clips or frames are
    missing."""
    manifest = cache.manifest
    training, validation = manifest.split(TRAIN), manifest.split(VALID)
    library = load(cache, training, range(passes + 1), config)
    valid = load(cache, validation, (0,), config)
    normalize = normalizer(cache.front.name, config.normalization)

    def clips() -> Iterator[Array]:
        for index in training:
            yield cache.read(0, manifest.clips[index].clip_id)
            tick()

    fit(normalize, clips())
    offsets = level_offsets(cache.front, normalize.std.numpy(), config.compression)
    return Data(
        library, valid, manifest.tags, clip_targets(manifest)[validation], cache.front.hop_s, normalize, offsets
    )
