"""Settings: what services must know that is not money. Compacted; the key is `kind<US>id`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drawdown.events.base import CustomerId, Digest, DimensionValue, Identifier, Record, Timestamp

Permission = Literal["ingest", "authorize", "read", "admin"]


class ApiKey(Record):
    """A key of the HTTP doors. Only its hash is kept; the secret was shown once."""

    kind: Literal["api_key"] = "api_key"
    id: Identifier = Field(description="The visible part of the key")
    hash: Digest = Field(description="SHA-256 of the whole key")
    permissions: Annotated[list[Permission], Field(min_length=1)]
    created_at: Timestamp
    title: DimensionValue = ""


class CustomerToken(Record):
    """A short-lived token of one customer: it sees that customer and nobody else."""

    kind: Literal["customer_token"] = "customer_token"
    id: Identifier
    hash: Digest
    customer: CustomerId
    expires_at: Timestamp


class Restore(Record):
    """A restore into this environment has begun. Its tombstone says that it ended; until then the
    environment is half written, and settlement does not start there."""

    kind: Literal["restore"] = "restore"
    id: Identifier
    origin: DimensionValue = Field(description="Cluster and environment of the backup")
    begun_at: Timestamp


AnySetting = Annotated[ApiKey | CustomerToken | Restore, Field(discriminator="kind")]
