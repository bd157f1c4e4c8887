"""Configuration of every process: the environment, and nothing else.

`DRAWDOWN_*` variables (or files of that name in `DRAWDOWN_SECRETS_DIR`) say what is Drawdown's own;
`KAFKA_BOOTSTRAP_SERVERS` and other `KAFKA_*` variables say where and how Kafka is reached
(`stream.kafka`). Without an address the local broker that `drawdown up` started is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from drawdown.events.catalogue import Environment

FAULTS: Final = "faults"
"""How the name of an environment begins in which processes may be told to die."""


class ConfigError(Exception):
    """A configuration that cannot work: one clear line, exit code 2."""


class Config(BaseSettings):
    """What a process is told."""

    model_config = SettingsConfigDict(
        env_prefix="DRAWDOWN_",
        env_nested_delimiter="__",
        secrets_dir=os.environ.get("DRAWDOWN_SECRETS_DIR") or None,
        extra="ignore",
    )

    environment: str = Field(default="dev", description="Prefix of every topic")
    home: Path = Field(
        default_factory=lambda: Path.home() / ".drawdown",
        description="Where stores, the local broker and its data live",
    )
    instance: str = Field(
        default="0",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Name of this process among those of its service; keep it over restarts",
    )
    host: str = Field(default="127.0.0.1", description="Address the HTTP doors listen on")
    settlement_port: int = Field(default=8790, ge=0, le=65535, description="/livez /metrics")
    gateway_port: int = Field(default=8791, ge=0, le=65535)
    query_port: int = Field(default=8792, ge=0, le=65535)
    notify_port: int = Field(default=8793, ge=0, le=65535, description="/livez /metrics")
    payment_url: str | None = Field(
        default=None, description="Notify: the payment provider that charges for top-ups"
    )
    payment_key: SecretStr | None = Field(
        default=None, description="Notify: its secret, sent as a bearer token"
    )
    cache_mib: int = Field(default=64, ge=1, description="Settlement: decoded rows kept in memory")
    snapshot_url: str | None = Field(
        default=None,
        description="Where snapshots of stores are: a path or an fsspec URL; settlement takes them"
        " there and restores from there",
    )
    snapshot_every_s: int = Field(
        default=3600, ge=1, description="Settlement: between two snapshots of a partition"
    )
    snapshot_keep: int = Field(default=3, ge=1, description="Snapshots kept of each partition")
    log_level: str = "INFO"
    crash_at: str | None = Field(
        default=None,
        description="Settlement: die at a point of the loop; environments faults* only",
    )
    gateway: str | None = Field(
        default=None, description="Commands: URL of the gateway; default the one `up` started"
    )
    query: str | None = Field(
        default=None, description="Commands: URL of the query service; default as for the gateway"
    )
    key: SecretStr | None = Field(
        default=None, description="Commands: the API key; default the one `up` made"
    )

    @field_validator("environment")
    @classmethod
    def _environment(cls, value: str) -> str:
        Environment(value)
        return value

    @field_validator("log_level")
    @classmethod
    def _log_level(cls, value: str) -> str:
        levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if value.upper() not in levels:
            raise ValueError(f"use one of {', '.join(levels)}")
        return value.upper()

    @field_validator("crash_at")
    @classmethod
    def _crash_at(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not str(info.data.get("environment")).startswith(FAULTS):
            raise ValueError(
                f"processes die on purpose only in an environment named {FAULTS}*; unset it"
            )
        return value

    @property
    def topics(self) -> Environment:
        """The environment whose topics this process uses."""
        return Environment(self.environment)


def load(**changes: Any) -> Config:
    """The configuration of this process. Raises ConfigError, naming the variable and the fix."""
    secrets = os.environ.get("DRAWDOWN_SECRETS_DIR")
    if secrets and not Path(secrets).is_dir():
        raise ConfigError(f"DRAWDOWN_SECRETS_DIR: {secrets} is no directory")
    try:
        return Config(**changes)
    except ValidationError as error:
        first = error.errors()[0]
        name = "DRAWDOWN_" + "__".join(str(part) for part in first["loc"]).upper()
        detail = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}: {detail} (is {first['input']!r})") from None
