"""Which topics a worker reads and writes, and under which names it is known to the cluster."""

from __future__ import annotations

import msgspec


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Names on the cluster, with the environment's prefix; customer topics have `partitions`."""

    usage: str
    commands: str
    journal: str
    rows: str
    answers: str
    dead_letters: str
    notices: tuple[str, ...] = ()
    """The application's other topics."""
    partitions: int
    group: str
    instance: str
    """Static member and transactional id of one process; a restarted process takes its own back."""

    @property
    def transactional_id(self) -> str:
        return f"{self.group}-{self.instance}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a transaction may have written to."""
        return (self.journal, self.rows, self.answers, self.dead_letters, *self.notices)

    @property
    def customer_topics(self) -> tuple[str, ...]:
        """Those that must all have the same number of partitions."""
        return (
            self.usage,
            self.commands,
            self.journal,
            self.rows,
            self.answers,
            self.dead_letters,
        )
