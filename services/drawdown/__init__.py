"""Drawdown: real-time AI billing on Kafka. See services/README.md for how it is built."""

__version__ = "0.1.0"
