"""The topics: names with their environment's prefix, and how each must be configured."""

from __future__ import annotations

import pytest

from drawdown.events.catalogue import (
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    PRICE_BOOK,
    TOPICS,
    USAGE_EVENTS,
    Environment,
)

LIVE = Environment("live")
DAY_MS = 86_400_000


def test_a_topic_has_its_environments_prefix() -> None:
    assert LIVE.topic(USAGE_EVENTS) == "live.usage-events"
    assert LIVE.known("live.usage-events") is USAGE_EVENTS
    assert LIVE.known("test.usage-events") is None
    assert LIVE.known("usage-events") is None
    assert len({LIVE.topic(topic) for topic in TOPICS}) == len(TOPICS)


@pytest.mark.parametrize(
    "name", ["", "Live", "1live", "-live", "li.ve", "li_ve", "x" * 32, "live\n"]
)
def test_what_is_no_environment_says_so(name: str) -> None:
    with pytest.raises(ValueError, match="environment"):
        Environment(name)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_retention_goes_by_the_brokers_time_except_in_scenarios(topic: object) -> None:
    assert topic.config(LIVE)["message.timestamp.type"] == "LogAppendTime"  # type: ignore[attr-defined]
    scenario = Environment("scenario")
    assert topic.config(scenario)["message.timestamp.type"] == "CreateTime"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["scenario", "scenario-1f"])
def test_times_that_are_made_up_are_taken_and_end_nothing(name: str) -> None:
    scenario = Environment(name)
    assert scenario.is_scenario
    for topic in TOPICS:
        config = topic.config(scenario)
        assert config["message.timestamp.after.max.ms"] == str(2**63 - 1)
        assert config.get("retention.ms", "-1") == "-1"
        assert "message.timestamp.after.max.ms" not in topic.config(LIVE)


@pytest.mark.parametrize("name", ["scenarios", "my-scenario", "live"])
def test_another_name_is_no_scenario(name: str) -> None:
    assert not Environment(name).is_scenario


@pytest.mark.parametrize("topic", [USAGE_EVENTS, COMMANDS, DECISIONS], ids=lambda topic: topic.name)
def test_inputs_and_decisions_outlive_the_lateness_window(topic: object) -> None:
    assert int(topic.config(LIVE)["retention.ms"]) >= (35 + 7) * DAY_MS  # type: ignore[attr-defined]


def test_the_truth_is_kept_and_rows_are_compacted() -> None:
    assert PRICE_BOOK.config(LIVE)["retention.ms"] == "-1"
    assert BALANCES.config(LIVE)["cleanup.policy"] == "compact"
    assert "retention.ms" not in BALANCES.config(LIVE)


def test_a_dead_letter_has_room_for_any_input_and_what_is_said_of_it() -> None:
    for topic in (USAGE_EVENTS, COMMANDS):
        assert DEAD_LETTERS.max_message_bytes > topic.max_message_bytes
