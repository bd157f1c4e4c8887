"""Who may do what: API keys and customer tokens, kept as hashes on the `settings` topic.

A key is `drw_sk_<id>_<secret>`, shown once when it is made; its id is what logs and entries name.
A customer token, `drw_ct_<id>_<secret>`, sees one customer until it expires. Both carry 160 random
bits; what is kept is the SHA-256 of the whole text, compared in constant time.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, cast

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import SETTINGS, Environment
from drawdown.events.codec import RecordError, Setting, decode_setting, encode, kind_of
from drawdown.events.settings import ApiKey, CustomerToken, Permission
from drawdown.events.structs import struct_of
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.access")

KEY_PREFIX: Final = "drw_sk_"
TOKEN_PREFIX: Final = "drw_ct_"
PERMISSIONS: Final[tuple[Permission, ...]] = ("ingest", "authorize", "read", "admin")
TOKEN_LIFE_DEFAULT: Final = timedelta(hours=1)
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 letters and digits that are not mistaken for each other."""

_ApiKey = struct_of(ApiKey)
_CustomerToken = struct_of(CustomerToken)


class AccessError(Exception):
    """Settings could not be read or written."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and what they may."""

    id: str
    permissions: frozenset[str]
    customer: str | None = None
    """The one customer a token sees; None sees all."""

    def may(self, permission: str, customer: str | None = None) -> bool:
        """Whether this caller may do this, to this customer. `admin` may everything."""
        if self.customer is not None and customer != self.customer:
            return False
        return permission in self.permissions or "admin" in self.permissions


def _text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def digest(secret: str) -> str:
    """What is kept of a key."""
    return sha256(secret.encode()).hexdigest()


def new_key(
    permissions: tuple[Permission, ...], now: datetime, title: str = ""
) -> tuple[str, ApiKey]:
    """A new key's text, to be shown once, and its record."""
    key_id = _text(8)
    secret = f"{KEY_PREFIX}{key_id}_{_text(32)}"
    record = _ApiKey(
        id=key_id,
        hash=digest(secret),
        permissions=list(permissions),
        created_at=now,
        title=title,
    )
    return secret, record


def new_token(
    customer: str, now: datetime, life: timedelta = TOKEN_LIFE_DEFAULT
) -> tuple[str, CustomerToken]:
    """A new customer token's text and its record."""
    token_id = _text(8)
    secret = f"{TOKEN_PREFIX}{token_id}_{_text(32)}"
    return secret, _CustomerToken(
        id=token_id, hash=digest(secret), customer=customer, expires_at=now + life
    )


def write_setting(
    cluster: Cluster, environment: Environment, kind: str, setting_id: str, record: Setting | None
) -> None:
    """Publish a setting, or remove it with None. Blocks up to 10 s. Raises AccessError."""
    producer = cluster.producer(kafka.plain_producer())
    failed: list[KafkaError] = []
    done = threading.Event()

    def report(error: KafkaError | None, _: Any) -> None:
        if error is not None:
            failed.append(error)
        done.set()

    producer.produce(
        environment.topic(SETTINGS),
        None if record is None else encode(record),
        f"{kind}{KEY_SEPARATOR}{setting_id}".encode(),
        0,
        on_delivery=report,
    )
    producer.flush(10.0)
    if failed or not done.is_set():
        why = failed[0].str() if failed else "no answer from the broker within 10 s"
        raise AccessError(f"the setting was not written: {why}")


class Settings:
    """The settings of an environment, followed in a thread while they change."""

    def __init__(self, cluster: Cluster, environment: Environment) -> None:
        self._consumer = cluster.consumer(kafka.reader())
        self._where = TopicPartition(environment.topic(SETTINGS), 0, OFFSET_BEGINNING)
        self._keys: dict[str, ApiKey] = {}
        self._tokens: dict[str, CustomerToken] = {}
        self._stop = threading.Event()
        self.caught_up = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="settings", daemon=True)

    def start(self) -> None:
        self._consumer.assign([self._where])
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def keys(self) -> list[ApiKey]:
        """Every key there is, oldest first; hashes only."""
        return sorted(self._keys.values(), key=lambda key: key.created_at)

    def caller(self, secret: str, now: datetime) -> Caller | None:
        """Whose key or token this is; None for one that is unknown or expired."""
        prefix, _, rest = secret.partition("_sk_")
        if prefix == "drw" and rest:
            key = self._keys.get(rest.partition("_")[0])
            if key is not None and hmac.compare_digest(key.hash, digest(secret)):
                return Caller(key.id, frozenset(key.permissions))
            return None
        prefix, _, rest = secret.partition("_ct_")
        if prefix == "drw" and rest:
            token = self._tokens.get(rest.partition("_")[0])
            if (
                token is not None
                and hmac.compare_digest(token.hash, digest(secret))
                and now < token.expires_at
            ):
                return Caller(token.id, frozenset(("read",)), token.customer)
        return None

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._consumer.poll(0.2)
            except KafkaException as error:
                log.warning("settings: %s", error)
                self._stop.wait(1.0)
                continue
            if message is None:
                continue
            error_ = message.error()
            if error_ is None:
                self._take(message.key() or b"", message.value())
            elif error_.code() == KafkaError._PARTITION_EOF:
                self.caught_up.set()
        self._consumer.close()

    def _take(self, key: bytes, value: bytes | None) -> None:
        kind, _, setting_id = key.decode("utf-8", "replace").partition(KEY_SEPARATOR)
        if value is None:
            settings: dict[str, dict[str, Any]]
            settings = {"api_key": self._keys, "customer_token": self._tokens}
            settings.get(kind, {}).pop(setting_id, None)
            return
        try:
            setting = decode_setting(value)
        except RecordError as error:
            log.error("settings: %s %s is unreadable: %s", kind, setting_id, error)
            return
        match kind_of(setting):
            case "api_key":
                self._keys[setting_id] = cast(ApiKey, setting)
            case "customer_token":
                self._tokens[setting_id] = cast(CustomerToken, setting)
            case _:  # says nothing of who may do what
                pass


def read_settings(cluster: Cluster, environment: Environment, timeout_s: float = 10.0) -> Settings:
    """The settings as they are now; the caller stops it. Raises AccessError."""
    settings = Settings(cluster, environment)
    settings.start()
    if not settings.caught_up.wait(timeout_s):
        settings.stop()
        raise AccessError(f"the settings topic was not read to its end within {timeout_s:.0f} s")
    return settings
