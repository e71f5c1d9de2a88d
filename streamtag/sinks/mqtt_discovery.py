"""Home Assistant's MQTT discovery: one message describes a stream as a device with its sensors.

The format is that of device discovery (home-assistant.io/integrations/mqtt, "Device discovery payload"):
PREFIX/device/ID/config holds the required `device`, `origin` and `components`, each of these a `platform` with a
`unique_id`. It is retained, so that Home Assistant finds it whenever it starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamtag.errors import SpecError
from streamtag.protocol.messages import JSON
from streamtag.sinks.mqtt_address import identifier


@dataclass(frozen=True)
class Discovery:
    """prefix: of the topics, in Home Assistant's settings `homeassistant`. model, version: shown with the device."""

    prefix: str
    model: str
    version: str

    def topic(self, base: str, stream: str) -> str:
        """Return the topic of a stream's configuration. base: the topic that all streams are below."""
        return f"{self.prefix}/device/{identifier(base, stream)}/config"

    def config(self, base: str, stream: str, topic: str, levels: Mapping[str, str]) -> tuple[str, str]:
        """Return where the configuration of a stream is published, and its JSON.

        topic: of the stream. levels: the level of each concept.
        """
        own = identifier(base, stream)
        components: dict[str, Any] = {
            f"{level}_present": {
                "platform": "binary_sensor",
                "name": name,
                "unique_id": f"{own}_{level}_present",
                "state_topic": f"{topic}/{level}/state",
                "icon": "mdi:music-note",
            }
            for name, level in levels.items()
        }
        components["strongest"] = {
            "platform": "sensor",
            "name": "strongest",
            "unique_id": f"{own}_strongest",
            "state_topic": f"{topic}/strongest",
            "icon": "mdi:music",
        }
        config = {
            "device": {
                "identifiers": [own],
                "name": stream,
                "manufacturer": "streamtag",
                "model": self.model,
                "sw_version": self.version,
            },
            "origin": {"name": "streamtag", "sw_version": self.version},
            "availability": [{"topic": f"{base}/status"}, {"topic": f"{topic}/status"}],
            "availability_mode": "all",
            "qos": 1,
            "components": components,
        }
        return self.topic(base, stream), JSON.encode(config)


def check_prefix(prefix: str) -> None:
    """Raise SpecError if this cannot be the beginning of a topic."""
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*", prefix):
        raise SpecError(f"--mqtt-discovery {prefix!r}: give the prefix of Home Assistant's topics: homeassistant")
