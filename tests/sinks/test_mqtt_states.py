"""The topics of streams, what is retained in them, and what waits in an outage; without a broker."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from streamtag.errors import SpecError
from streamtag.protocol.messages import Concept, End, Event, Frame, History
from streamtag.protocol.selection import Selection
from streamtag.sinks.mqtt_discovery import Discovery, check_prefix
from streamtag.sinks.mqtt_states import MAX_ENDED_STREAMS, MqttStates, Outbox, Publication

CONCEPTS = (
    Concept("guitar", "instrument", ("guitar",), 0.5),
    Concept("male vocals", "voice", ("male vocal",), 0.5),
    Concept("rare", "mood", ("slow",), None),
)
TAGS, THRESHOLDS = ("guitar", "male vocal", "slow"), (0.5, 0.5, 0.5)
SELECTION = Selection.of(TAGS, THRESHOLDS, CONCEPTS)
END = End("mic", 3.0, 12, {})


def frame(guitar: float, vocals: float, stream: str = "mic") -> Frame:
    return Frame(stream, 3, 1.0, 1.5, {}, concepts={"guitar": guitar, "male vocals": vocals, "rare": 0.99})


def event(concept: str, state: str, time: float = 1.0, stream: str = "mic") -> Event:
    return Event(stream, concept, "on" if state == "on" else "off", time, concept)


def flush(outbox: Outbox) -> list[Publication]:
    """Publish everything that waits, and confirm it."""
    sent = []
    while batch := outbox.batch(5):
        for message in batch:
            outbox.confirm(message)
        sent += batch
    return sent


def retained(sent: list[Publication]) -> dict[str, str]:
    return {message.topic: message.payload.decode() for message in sent if message.number is None}


def started(selection: Selection = SELECTION, discovery: Discovery | None = None) -> tuple[MqttStates, Outbox]:
    outbox = Outbox()
    return MqttStates("home", selection, outbox, discovery, clock=lambda: 1_700_000_000.1234), outbox


def test_a_stream_begins_with_every_concept_off() -> None:
    states, outbox = started()
    states.add(frame(0.9, 0.1))
    assert retained(flush(outbox)) == {
        "home/mic/guitar/state": "OFF",
        "home/mic/male_vocals/state": "OFF",
        "home/mic/strongest": "none",
        "home/mic/status": "online",
    }


def test_an_event_changes_a_state_and_is_published_with_the_time_of_day() -> None:
    states, outbox = started()
    states.add(event("male vocals", "on", 2.5))
    sent = flush(outbox)
    assert retained(sent)["home/mic/male_vocals/state"] == "ON"
    (published,) = [message for message in sent if message.number is not None]
    assert published.topic == "home/mic/events"
    expected = {**event("male vocals", "on", 2.5).to_dict(), "detected_at": 1_700_000_000.123}
    assert json.loads(published.payload) == expected
    states.add(event("male vocals", "off", 3.0))
    assert retained(flush(outbox)) == {"home/mic/male_vocals/state": "OFF"}


def test_only_chosen_concepts_are_published() -> None:
    states, outbox = started(Selection.of(TAGS, THRESHOLDS, CONCEPTS, concept_names=["guitar", "rare"]))
    states.add(frame(0.1, 0.9))
    states.add(event("male vocals", "on"))
    states.update_strongest()
    sent = flush(outbox)
    assert {topic for topic in retained(sent) if topic.endswith("/state")} == {"home/mic/guitar/state"}
    assert retained(sent)["home/mic/strongest"] == "none"
    assert all(message.number is None for message in sent)


def test_tags_take_the_place_of_concepts_in_a_model_without() -> None:
    states, outbox = started(Selection.of(TAGS, THRESHOLDS, names=["guitar", "slow"]))
    states.add(Event("mic", "slow", "on", 1.0))
    assert retained(flush(outbox))["home/mic/slow/state"] == "ON"


def test_the_strongest_is_the_strongest_of_those_present_and_does_not_alternate() -> None:
    states, outbox = started()

    def strongest(message: Frame | Event) -> str | None:
        states.add(message)
        states.update_strongest()
        return retained(flush(outbox)).get("home/mic/strongest")

    assert strongest(frame(0.9, 0.1)) == "none"  # as nothing is present
    states.add(event("guitar", "on"))
    assert strongest(frame(0.8, 0.9)) == "guitar"
    states.add(event("male vocals", "on"))
    assert strongest(frame(0.8, 0.84)) is None  # not by much
    assert strongest(frame(0.8, 0.9)) == "male vocals"
    states.add(event("male vocals", "off"))
    assert strongest(frame(0.8, 0.9)) == "guitar"


def test_the_end_of_a_stream_makes_it_unavailable_and_a_new_one_of_the_name_available() -> None:
    states, outbox = started()
    states.add(event("guitar", "on"))
    states.add(frame(0.9, 0.1))
    states.update_strongest()
    flush(outbox)
    states.add(event("guitar", "off"))
    states.add(END)
    assert retained(flush(outbox)) == {
        "home/mic/guitar/state": "OFF",
        "home/mic/strongest": "none",
        "home/mic/status": "offline",
    }
    states.add(frame(0.9, 0.1))
    assert retained(flush(outbox))["home/mic/status"] == "online"


def test_a_history_says_what_is_present() -> None:
    states, outbox = started()
    states.add(event("guitar", "on"))
    flush(outbox)
    states.add(History("mic", (1.0,), {}, {"guitar": (0.1,)}, present=("male vocals", "rare")))
    sent = flush(outbox)
    assert retained(sent) == {"home/mic/guitar/state": "OFF", "home/mic/male_vocals/state": "ON"}


def test_going_offline_concerns_running_streams_and_the_program() -> None:
    states, outbox = started()
    for name in ("a", "b"):
        states.add(frame(0.1, 0.1, name))
    states.add(replace(END, stream="b"))
    flush(outbox)
    states.go_offline()
    assert retained(flush(outbox)) == {"home/a/status": "offline", "home/status": "offline"}


def test_what_the_broker_holds_of_ended_streams_is_bounded() -> None:
    states, outbox = started(discovery=Discovery("homeassistant", "small", "streamtag 1.0"))
    held: dict[str, str] = {}
    for number in range(MAX_ENDED_STREAMS + 3):
        states.add(frame(0.1, 0.1, f"s{number}"))
        states.add(replace(END, stream=f"s{number}"))
        held |= retained(flush(outbox))
    topics = [topic for topic, payload in held.items() if payload]  # an empty payload removes a topic
    assert len(topics) == 5 * MAX_ENDED_STREAMS
    assert not any("/s2/" in topic for topic in topics)
    outbox.restart()
    assert len(flush(outbox)) == len(topics)


def test_streams_that_come_and_go_in_an_outage_leave_nothing_behind() -> None:
    states, outbox = started()
    for number in range(10 * MAX_ENDED_STREAMS):
        states.add(frame(0.1, 0.1, f"s{number}"))
        states.add(replace(END, stream=f"s{number}"))
    assert len(flush(outbox)) == 4 * MAX_ENDED_STREAMS


# --- the outbox ---------------------------------------------------------------------------------------------------


def test_what_was_not_confirmed_is_published_again_in_order() -> None:
    outbox = Outbox()
    for number in range(6):
        outbox.append("events", str(number))
    first, second, *_ = outbox.batch(4)
    outbox.confirm(first)
    outbox.confirm(second)
    outbox.restart()
    assert [message.payload for message in flush(outbox)] == [b"2", b"3", b"4", b"5"]
    assert outbox.waiting == 0


def test_of_a_retained_topic_only_the_latest_payload_is_published() -> None:
    outbox = Outbox()
    for payload in ("ON", "OFF", "ON"):
        outbox.retain("state", payload)
    assert [message.payload for message in flush(outbox)] == [b"ON"]
    assert not outbox.has_work()
    outbox.restart()
    assert [message.payload for message in flush(outbox)] == [b"ON"]


def test_a_change_while_a_message_is_on_its_way_is_published_too() -> None:
    outbox = Outbox()
    outbox.retain("state", "ON")
    (message,) = outbox.batch(5)
    outbox.retain("state", "OFF")
    outbox.confirm(message)
    assert [message.payload for message in flush(outbox)] == [b"OFF"]


def test_the_oldest_events_are_dropped_and_counted_where_there_is_no_room() -> None:
    outbox = Outbox(max_events=3)
    for number in range(5):
        outbox.append("events", str(number))
    assert (outbox.dropped, outbox.waiting) == (2, 3)
    assert [message.payload for message in flush(outbox)] == [b"2", b"3", b"4"]


# --- Home Assistant -----------------------------------------------------------------------------------------------


def test_discovery_has_what_home_assistant_requires() -> None:
    states, outbox = started(discovery=Discovery("homeassistant", "small", "streamtag 1.0"))
    states.add(frame(0.9, 0.1, "Bar / 1"))
    sent = retained(flush(outbox))
    (topic,) = [topic for topic in sent if topic.startswith("homeassistant/")]
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
    config = json.loads(sent[topic])
    assert config["device"]["identifiers"] == [topic.split("/")[2]]
    assert config["device"]["name"] == "Bar / 1"
    assert config["origin"]["name"] == "streamtag"
    assert config["availability_mode"] == "all"
    assert [each["topic"] for each in config["availability"]] == ["home/status", "home/Bar%20%2F%201/status"]
    sensors = list(config["components"].values())
    assert [(each["platform"], each["name"]) for each in sensors] == [
        ("binary_sensor", "guitar"),
        ("binary_sensor", "male vocals"),
        ("sensor", "strongest"),
    ]
    assert len({each["unique_id"] for each in sensors}) == 3
    assert {each["state_topic"] for each in sensors} <= set(sent)


@pytest.mark.parametrize("prefix", ["", "a/", "a/+", "#", "a b"])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    with pytest.raises(SpecError, match="--mqtt-discovery"):
        check_prefix(prefix)
