"""`--history` and `--mqtt` with the options that belong to them: where messages go besides the output of a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamtag.cli.options import option, with_options
from streamtag.cli.program import Section, UsageError

if TYPE_CHECKING:
    from streamtag.audio.source import SourceNotice
    from streamtag.protocol.messages import Hello
    from streamtag.protocol.selection import Selection
    from streamtag.server.config import ServerConfig
    from streamtag.sinks.base import Sink
    from streamtag.sinks.mqtt_address import MqttAddress

MAX_DAYS = 36_500.0
PASSWORD_VARIABLE = "STREAMTAG_MQTT_PASSWORD"

OPTIONS = {
    "history": Annotated[
        Path | None,
        option(
            "--history FILE",
            Section.output,
            "Record in this SQLite file when each concept was present, and the means of every minute;"
            " `streamtag history` shows them.",
        ),
    ],
    "keep_days": Annotated[
        float | None,
        option("--keep DAYS", Section.output, "With --history: delete what is older; by default nothing is."),
    ],
    "mqtt": Annotated[
        str | None,
        option(
            "--mqtt URL",
            Section.output,
            "Publish what is present to an MQTT broker, mqtt[s]://USER@HOST[:PORT]/TOPIC: TOPIC/STREAM/CONCEPT/state,"
            f" ../strongest and ../events; the password is read from {PASSWORD_VARIABLE}.",
        ),
    ],
    "mqtt_ca": Annotated[
        Path | None, option("--mqtt-ca F.pem", Section.output, "Trust this certificate (for mqtts://).")
    ],
    "mqtt_discovery": Annotated[
        str | None,
        option(
            "--mqtt-discovery PREFIX",
            Section.output,
            "Announce each stream to Home Assistant as a device: a binary sensor per concept (those of --concepts) and"
            " one for the strongest. PREFIX is homeassistant, unless its settings say otherwise.",
        ),
    ],
}


@dataclass(frozen=True)
class MessageOutputs:
    """The values of the options. keep_days: None: for ever. broker: None without --mqtt."""

    history: Path | None = None
    keep_days: float | None = None
    broker: MqttAddress | None = None
    ca: Path | None = None
    discovery: str | None = None

    def check(self, targets: Iterable[Path | None] = (), inputs: Sequence[str] = ()) -> None:
        """Check the history and the other files that a command writes, and that MQTT's package is installed.

        Raises OutputError, and SpecError if a file is one of the inputs or named twice.
        """
        from streamtag.sinks.atomic_file import check_targets

        check_targets([path for path in (*targets, self.history) if path is not None], inputs)
        if self.broker is not None:
            from streamtag.sinks.mqtt import check_aiomqtt

            check_aiomqtt()

    def shown_by(self, config: ServerConfig) -> ServerConfig:
        """Return the settings of a server whose page shows what is recorded."""
        return replace(config, history=self.history)

    def open_history(
        self,
        resources: ExitStack,
        report: Callable[[str], None],
        hello: Hello | None = None,
        model: Path | None = None,
        source_of: Callable[[str], str | None] = lambda _: None,
        max_messages: int = 1024,
    ) -> list[Sink]:
        """Return a sink that never blocks and never fails, or none without --history. Raises OutputError.

        report: called from any thread with one line for people. hello: None if the messages begin with one. model: the
        file with the weights. source_of: the source of a stream by its name, where `begin` does not name it.
        max_messages: that wait for the disk.
        """
        if self.history is None:
            return []
        from streamtag.history.recorder import Recorder
        from streamtag.sinks.background import BackgroundSink

        weights = ""
        if model is not None:
            from streamtag.model.model_file import fingerprint

            weights = fingerprint(model)
        recorder = Recorder(self.history, report, weights, source_of, self.keep_days)
        sink = resources.enter_context(BackgroundSink([recorder], max_messages, recorder.poll))
        if hello is not None:
            sink.write(hello)
        return [sink]

    def open_mqtt(
        self, resources: ExitStack, notify: Callable[[SourceNotice], None], hello: Hello, selection: Selection
    ) -> list[Sink]:
        """Return a sink that publishes, or none without --mqtt. notify: called from any thread. Raises OutputError."""
        if self.broker is None:
            return []
        from streamtag.sinks.mqtt import MqttSink
        from streamtag.sinks.mqtt_discovery import Discovery

        discovery = None if self.discovery is None else Discovery(self.discovery, hello.model, hello.server)
        sink = MqttSink(self.broker, selection, notify, ca=self.ca, discovery=discovery)
        return [resources.enter_context(sink)]


def with_outputs(function: Callable[..., int]) -> Callable[..., int]:
    """Add --history, --mqtt and the options that belong to them to a command, which gets them as `outputs`."""
    return with_options(function, "outputs", OPTIONS, None, _outputs)


def _outputs(
    history: Path | None, keep_days: float | None, mqtt: str | None, ca: Path | None, discovery: str | None
) -> MessageOutputs:
    if keep_days is not None and history is None:
        raise UsageError("--keep goes with --history")
    if keep_days is not None and not 0 < keep_days <= MAX_DAYS:
        raise UsageError(f"--keep {keep_days:g}: must be a number of days above 0, at most {MAX_DAYS:g}")
    if mqtt is None:
        if ca is not None or discovery is not None:
            raise UsageError("--mqtt-ca and --mqtt-discovery go with --mqtt")
        return MessageOutputs(history, keep_days)
    from streamtag.sinks.mqtt_address import MqttAddress
    from streamtag.sinks.mqtt_discovery import check_prefix

    address = MqttAddress.parse(mqtt, os.environ.get(PASSWORD_VARIABLE))
    if ca is not None and not address.is_secure:
        raise UsageError(f"{address}: --mqtt-ca is for mqtts:// addresses")
    if discovery is not None:
        check_prefix(discovery)
    return MessageOutputs(history, keep_days, address, ca, discovery)
