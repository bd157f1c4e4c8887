"""Partitions side by side: each in a process of its own, because Python uses one core a process.

Children are started anew (spawn), so that none inherits a client's threads.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from drawdown.replay.job import Job, Progress
from drawdown.replay.rebuild import TooManyError
from drawdown.stream.kafka import KafkaCluster, overrides_from
from drawdown.stream.loop import settle_down
from drawdown.stream.partition_log import LogError
from drawdown.stream.ports import Cluster

T = TypeVar("T")

LOOK_S: Final = 0.2
"""How often children that ended without a word are looked for."""
END_S: Final = 10.0

Work = Callable[[Job, Cluster, Progress], T]
"""What is done with a partition: a function of a module, so that a child finds it."""
Told = Callable[[int, int, int], None]
"""Told of progress: partition, entries done, about how many in all."""


class PartitionError(Exception):
    """A partition could not be replayed; one line."""


def run(
    work: Work[T], jobs: Sequence[Job], cluster: Cluster, told: Told, processes: int = 1
) -> list[T]:
    """Do the work for every partition, `processes` of them at a time; results in order.

    With one process it is done right here. Raises PartitionError, LogError, TooManyError,
    KafkaException; the children there are end then.
    """
    if processes > 1 and len(jobs) > 1 and isinstance(cluster, KafkaCluster):
        return _apart(work, jobs, cluster.bootstrap, min(processes, len(jobs)), told)
    return [work(job, cluster, partial(told, job.partition)) for job in jobs]


def _apart(
    work: Work[T], jobs: Sequence[Job], bootstrap: str, processes: int, told: Told
) -> list[T]:
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    waiting = list(jobs)
    running: dict[int, Any] = {}
    results: dict[int, T] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                child = context.Process(target=_child, args=(work, job, bootstrap, said))
                child.daemon = True
                child.start()
                running[job.partition] = child
            try:
                number, word, content = said.get(timeout=LOOK_S)
            except queue.Empty:
                _look_for_dead(running)
                continue
            if word == "progress":
                told(number, *content)
            elif word == "failed":
                raise content
            elif word == "kafka":
                raise KafkaException(KafkaError(*content))
            else:
                results[number] = content
                running.pop(number).join()
    finally:
        for child in running.values():
            child.terminate()
            child.join(END_S)
    return [results[job.partition] for job in jobs]


def _look_for_dead(running: Mapping[int, Any]) -> None:
    for number, child in running.items():
        if child.exitcode not in (None, 0):
            why = ": out of memory?" if child.exitcode == -9 else ""
            raise PartitionError(
                f"partition {number}: its process ended with {child.exitcode}{why}"
            )


def _child(work: Work[Any], job: Job, bootstrap: str, said: Any) -> None:
    """What a child process does."""
    number = job.partition

    def progress(done: int, whole: int) -> None:
        said.put((number, "progress", (done, whole)))

    settle_down()
    try:
        result = work(job, KafkaCluster(bootstrap, overrides_from(os.environ)), progress)
    except (LogError, TooManyError) as error:
        said.put((number, "failed", error))
    except KafkaException as error:  # it does not cross to the parent as it is
        cause: KafkaError = error.args[0]
        said.put((number, "kafka", (cause.code(), cause.str())))
    except Exception as error:  # noqa: BLE001 - told by the parent, whatever it is
        said.put((number, "failed", PartitionError(f"{type(error).__name__}: {error}")))
    else:
        said.put((number, "done", result))
