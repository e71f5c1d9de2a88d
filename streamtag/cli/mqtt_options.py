"""`--mqtt` and the options that belong to it, for all commands that have messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamtag.cli.options import option, with_options
from streamtag.cli.program import Section, UsageError

if TYPE_CHECKING:
    from streamtag.audio.source import SourceNotice
    from streamtag.protocol.messages import Hello
    from streamtag.protocol.selection import Selection
    from streamtag.sinks.mqtt import MqttSink
    from streamtag.sinks.mqtt_address import MqttAddress

PASSWORD_VARIABLE = "STREAMTAG_MQTT_PASSWORD"
MqttUrl = Annotated[
    str | None,
    option(
        "--mqtt",
        "URL",
        "Publish what is present to an MQTT broker, mqtt[s]://USER@HOST[:PORT]/TOPIC: TOPIC/STREAM/CONCEPT/state,"
        f" ../strongest and ../events; the password is read from {PASSWORD_VARIABLE}.",
        section=Section.output,
    ),
]
MqttCa = Annotated[
    Path | None, option("--mqtt-ca", "F.pem", "Trust this certificate (for mqtts://).", section=Section.output)
]
MqttDiscovery = Annotated[
    str | None,
    option(
        "--mqtt-discovery",
        "PREFIX",
        "Announce each stream to Home Assistant as a device: a binary sensor per concept (those of --concepts) and one"
        " for the strongest. PREFIX is homeassistant, unless its settings say otherwise.",
        section=Section.output,
    ),
]


@dataclass(frozen=True)
class MqttOutput:
    """The values of the options."""

    address: MqttAddress
    ca: Path | None
    discovery: str | None

    def check(self) -> None:
        """Raise OutputError if the package for it is not installed."""
        from streamtag.sinks.mqtt import check_aiomqtt

        check_aiomqtt()

    def open(self, greeting: Hello, selection: Selection, notify: Callable[[SourceNotice], None]) -> MqttSink:
        """notify: called from any thread. Raises OutputError."""
        from streamtag.sinks.mqtt import MqttSink
        from streamtag.sinks.mqtt_discovery import Discovery

        discovery = None if self.discovery is None else Discovery(self.discovery, greeting.model, greeting.server)
        return MqttSink(self.address, selection, notify, ca=self.ca, discovery=discovery)


def with_mqtt(function: Callable[..., int]) -> Callable[..., int]:
    """Add --mqtt and the options that belong to it to a command, which gets an `MqttOutput | None` as `mqtt`."""
    added = {"mqtt_url": MqttUrl, "mqtt_ca": MqttCa, "mqtt_discovery": MqttDiscovery}
    return with_options(function, "mqtt", added, None, _output)


def _output(url: str | None, ca: Path | None, discovery: str | None) -> MqttOutput | None:
    if url is None:
        if ca is not None or discovery is not None:
            raise UsageError("--mqtt-ca and --mqtt-discovery go with --mqtt")
        return None
    from streamtag.sinks.mqtt_address import MqttAddress
    from streamtag.sinks.mqtt_discovery import check_prefix

    address = MqttAddress.parse(url, os.environ.get(PASSWORD_VARIABLE))
    if ca is not None and not address.is_secure:
        raise UsageError(f"{address}: --mqtt-ca is for mqtts:// addresses")
    if discovery is not None:
        check_prefix(discovery)
    return MqttOutput(address, ca, discovery)
