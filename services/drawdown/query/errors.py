"""What can go wrong with a local copy, as who reads it sees it.

ReplicaError
  StaleError           it is further behind than it may be; a TimeoutError
  BehindError          what was waited for did not come in time; a TimeoutError
  NotFollowedError     the customer's partition is not one it was told to follow
  PartitionsError      it was told to follow one that the topic has not; a ValueError
  OtherTopicError      it is of another cluster or topic: it is to be made anew
"""

from __future__ import annotations


class ReplicaError(Exception):
    """The root of all of them."""


class StaleError(ReplicaError, TimeoutError):
    """Nothing was heard of the end of the topic for longer than an answer may be old."""


class BehindError(ReplicaError, TimeoutError):
    """The copy has not come as far as was asked for within the time given."""


class NotFollowedError(ReplicaError):
    """This copy is of other partitions."""


class PartitionsError(ReplicaError, ValueError):
    """It was told to follow a partition that there is not."""


class OtherTopicError(ReplicaError):
    """The copy is of another cluster or topic, or the topic has lost what was not read."""
