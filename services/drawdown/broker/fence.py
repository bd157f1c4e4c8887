"""What a lone broker that was killed needs before it starts again: its former life is ended.

The metadata of a killed broker still say that it is alive and leads its partitions. Its controller
starts with it, and takes the former life for dead only when its session has passed. Until then the
new one reads these metadata and acts as the leader it was: it loads groups' offsets and
transactions, and ends transactions. Then it is declared dead, leads nothing for a moment, and loads
all again. Seen with Kafka 4.3.1, of transactions and groups alike:

- Markers of transactions that fall into that moment are given up for good ("likely deleted already
  and hence can be skipped"), those of committed ones too: their records and offsets stay pending.
- The end of the first load is taken for the end of the second. A group's offsets are answered from
  the part that is read by then, and go back; or the group is not served at all.

So it is declared dead first, by a controller alone, which does nothing else: then the broker finds
that it leads nothing, registers at once, and loads everything once, when it leads everything. Of
three brokers the other two have done so, and a partition always has a leader.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import logs, properties, storage
from .errors import BrokerError
from .process import spawn

NAME = "fence"
"""Of its settings, log and output, in the broker's folder."""
_SESSION_MS = 500
_POLL_S = 0.05
_KILL_TIMEOUT_S = 10.0
_LEFT_OUT = ("advertised.listeners", "inter.broker.listener.name")
_REGISTERED = re.compile(r"Replayed .*RegisterBrokerRecord\(.*\bfenced=(?P<fenced>true|false)")
_CHANGED = re.compile(r"Replayed BrokerRegistrationChangeRecord .*\bfenced=(?P<fenced>1|-1)\b")
_ACTIVE = "Becoming the active controller"


def is_due(data: Path) -> bool:
    """Whether the broker of this folder ran, and did not end by itself."""
    ran = (data / "__cluster_metadata-0").is_dir()
    return ran and not (data / ".kafka_cleanshutdown").exists()


def end_former_life(
    folder: Path,
    broker: Mapping[str, str],
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
) -> None:
    """Run a controller alone until the broker of `folder` is declared dead. `broker` are the
    broker's settings; `command` runs what is written to `NAME`. Takes 3 s. Raises `BrokerError`."""
    log, console = folder / f"{NAME}.log", folder / f"{NAME}.console.log"
    log.unlink(missing_ok=True)
    storage.write_whole(folder / f"{NAME}.properties", properties.dumps(settings(broker)))
    process = spawn(command, folder=folder, console=console, environment=environment, owned=True)
    deadline = time.monotonic() + timeout_s
    try:
        while not is_done(logs.lines(log, 0)):
            if process.wait(_POLL_S) or time.monotonic() > deadline:
                raise BrokerError(
                    f"a killed Kafka broker cannot be declared dead: {logs.reason(log, console, 0)}"
                    f" (see {log})"
                )
    finally:
        process.signal(signal.SIGTERM)
        if not process.wait(_KILL_TIMEOUT_S):
            process.signal(signal.SIGKILL)
            process.wait(_KILL_TIMEOUT_S)


def settings(broker: Mapping[str, str]) -> dict[str, str]:
    """The settings of the controller alone, by those of the broker that it is a part of."""
    name = broker["controller.listener.names"]
    listeners = broker["listeners"].split(",")
    return {
        **{key: value for key, value in broker.items() if key not in _LEFT_OUT},
        "process.roles": "controller",
        "listeners": next(one for one in listeners if one.startswith(f"{name}://")),
        "listener.security.protocol.map": f"{name}:PLAINTEXT",
        # Nobody lives who could be taken for dead by mistake.
        "broker.session.timeout.ms": str(_SESSION_MS),
        "broker.heartbeat.interval.ms": str(_SESSION_MS // 2),
    }


def is_done(log: Sequence[str]) -> bool:
    """Whether the controller has read its metadata, by the lines that it logged, and in them no
    broker is in service."""
    active, serves = False, False
    for line in log:
        if _ACTIVE in line:
            active = True
        elif found := _REGISTERED.search(line):
            serves = found["fenced"] == "false"
        elif found := _CHANGED.search(line):
            serves = found["fenced"] == "-1"
    return active and not serves
