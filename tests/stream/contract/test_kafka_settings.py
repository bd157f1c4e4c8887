"""What clients are made with: the guarantees of each role, and what an operator may say."""

from __future__ import annotations

import pytest

from drawdown.stream.kafka import (
    LOCKED,
    KafkaCluster,
    masked,
    money_consumer,
    money_producer,
    overrides_from,
    plain_producer,
    reader,
)

NOWHERE = "127.0.0.1:1"


def test_the_money_path_never_commits_resets_or_reads_ahead_by_itself() -> None:
    for config in (money_consumer("g", "i"), reader()):
        assert config["isolation.level"] == "read_committed"
        assert config["enable.auto.commit"] is False
        assert config["enable.auto.offset.store"] is False
        assert config["auto.offset.reset"] == "error"
        assert config["enable.partition.eof"] is True


def test_a_place_in_the_group_is_named_and_moves_step_by_step() -> None:
    config = money_consumer("settlement", "settlement-0")
    assert config["group.id"] == "settlement"
    assert config["group.instance.id"] == "settlement-0"
    assert config["partition.assignment.strategy"] == "cooperative-sticky"
    assert config["session.timeout.ms"] == 6_000
    assert config["heartbeat.interval.ms"] == 1_000


def test_a_reader_has_no_place_in_a_group() -> None:
    assert "group.instance.id" not in reader()


def test_every_producer_agrees_on_partitions_and_writes_once() -> None:
    for config in (money_producer("t"), plain_producer()):
        assert config["partitioner"] == "murmur2_random"
        assert config["enable.idempotence"] is True
        assert config["acks"] == "all"


def test_transactions_are_retried_at_once_and_end_soon() -> None:
    config = money_producer("settlement-0")
    assert config["transactional.id"] == "settlement-0"
    assert config["transaction.timeout.ms"] == 5_000
    assert (config["retry.backoff.ms"], config["retry.backoff.max.ms"]) == (1, 20)
    assert config["linger.ms"] == 0
    assert "transactional.id" not in plain_producer()


@pytest.mark.parametrize(
    "role", [money_consumer("g", "i"), reader()], ids=["money_consumer", "reader"]
)
def test_librdkafka_takes_every_consumer_setting(role: dict[str, object]) -> None:
    KafkaCluster(NOWHERE).consumer(role).close()


@pytest.mark.parametrize(
    "role", [money_producer("t"), plain_producer()], ids=["money_producer", "plain_producer"]
)
def test_librdkafka_takes_every_producer_setting(role: dict[str, object]) -> None:
    KafkaCluster(NOWHERE).producer(role)


# The operator


def test_variables_become_properties() -> None:
    assert overrides_from(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_LOG_LEVEL": "7",
            "HOME": "/root",
        }
    ) == {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "log_level": "7"}


def test_variables_of_kubernetes_and_of_kafkas_scripts_are_passed_over() -> None:
    assert (
        overrides_from(
            {
                "KAFKA_PORT": "tcp://10.0.0.1:9092",
                "KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1",
                "KAFKA_SERVICE_HOST": "10.0.0.1",
                "KAFKA_HEAP_OPTS": "-Xmx1g",
                "KAFKA_HOME": "/opt/kafka",
            }
        )
        == {}
    )


def test_an_override_wins_over_a_roles_tuning() -> None:
    cluster = KafkaCluster(NOWHERE, {"session.timeout.ms": "30000"})
    assert cluster.config(money_consumer("g", "i"))["session.timeout.ms"] == "30000"


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_a_guarantee_cannot_be_overridden(name: str) -> None:
    with pytest.raises(ValueError, match=f"overrides set {name}, which is locked"):
        KafkaCluster(NOWHERE, {name: "x"})


def test_the_variable_that_tries_is_named() -> None:
    with pytest.raises(
        ValueError,
        match=r"KAFKA_ISOLATION_LEVEL sets isolation\.level, which is locked: a reader of",
    ):
        overrides_from({"KAFKA_ISOLATION_LEVEL": "read_uncommitted"})


@pytest.mark.parametrize(("name", "value"), [("no.such.thing", "1"), ("socket.timeout.ms", "soon")])
def test_a_setting_that_librdkafka_refuses_is_a_value_error_that_names_it(
    name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=name):
        KafkaCluster(NOWHERE, {name: value}).consumer(reader())


def test_the_environment_says_where_the_cluster_is() -> None:
    cluster = KafkaCluster.from_environment({"KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2"})
    assert cluster.config(reader())["bootstrap.servers"] == "a:1,b:2"
    with pytest.raises(ValueError, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        KafkaCluster.from_environment({})
    with pytest.raises(ValueError, match="bootstrap is empty"):
        KafkaCluster(" ")


def test_secrets_are_never_shown() -> None:
    secrets = {
        "sasl.username": "user",
        "sasl.password": "hush",
        "ssl.key.password": "hush",
        "ssl.keystore.password": "hush",
        "ssl.key.pem": "hush",
        "sasl.oauthbearer.client.secret": "hush",
        "sasl.oauthbearer.config": "hush",
        "sasl.oauthbearer.assertion.private.key.passphrase": "hush",
    }
    shown = repr(KafkaCluster("kafka:9092", secrets | {"security.protocol": "SASL_SSL"}))
    assert "hush" not in shown
    assert "user" not in shown.replace("sasl.username", "")
    assert "SASL_SSL" in shown
    assert set(masked(secrets).values()) == {"***"}


def test_librdkafkas_log_goes_to_pythons(caplog: pytest.LogCaptureFixture) -> None:
    consumer = KafkaCluster(NOWHERE).consumer(reader())

    def has_come() -> bool:
        consumer.poll(0.05)
        return any(
            record.name == "drawdown.kafka" and f"{NOWHERE} failed" in record.getMessage()
            for record in caplog.records
        )

    with caplog.at_level("DEBUG", logger="drawdown.kafka"):
        assert any(has_come() for _ in range(200))
    consumer.close()


def test_an_operators_client_id_leaves_a_member_its_own() -> None:
    cluster = KafkaCluster(NOWHERE, overrides_from({"KAFKA_CLIENT_ID": "billing"}))
    assert cluster.config(reader())["client.id"] == "billing"
    assert cluster.config({**reader(), "client.id": "drawdown-1"})["client.id"] == (
        "billing.drawdown-1"
    )
