"""The one exception of this package."""

from __future__ import annotations


class BrokerError(Exception):
    """The local Kafka cannot do what was asked. The message is one line: what is wrong, where, and
    what to do about it."""
