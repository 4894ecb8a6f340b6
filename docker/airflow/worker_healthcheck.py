"""Healthy means: this worker takes tasks. It does not if a message waits for a minute while a slot is free.

Usage: worker_healthcheck.py [QUEUE,QUEUE...], the queues that the worker takes tasks from.

A worker that has lost its broker may answer a ping and take nothing. `celery inspect ping` imports Airflow for 5 s.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

QUEUES = "default,training,rollout"
LONGEST_SECONDS = 60
STATE = Path("/tmp/worker-healthcheck")  # noqa: S108  a tmpfs of this container alone


def has_waited(message: str, state: Path, now: float) -> bool:
    """Returns whether this was the first waiting message for longer than a minute, by the checks before."""
    known, _, since = state.read_text().partition(" ") if state.is_file() else ("", "", "")
    if known != message or not since:
        state.write_text(f"{message} {now}")
        return False
    return now - float(since) > LONGEST_SECONDS


def has_free_slot(parents: dict[int, int], slots: set[int]) -> bool:
    """Returns whether a slot runs no task: a task is a child process of its slot.

    Args:
        parents: The parent of each process.
        slots: The processes of the pool.
    """
    return not slots <= set(parents.values())


def find_slots(titles: dict[int, str], parents: dict[int, int]) -> set[int]:
    """Returns the processes of the pool: Celery names them, and Airflow gives each another name with its first task.

    A task's process has the name of its slot, until it has one of its own.
    """
    named = {pid for pid, title in titles.items() if "ForkPoolWorker" in title or "airflow supervisor:" in title}
    return {pid for pid in named if parents.get(pid) not in named}


def find_problem(message: str, waits: bool, parents: dict[int, int], slots: set[int]) -> str:
    """Returns why this worker is unhealthy, or an empty text."""
    if not slots:
        return "no slot"
    if message and waits and has_free_slot(parents, slots):
        return f"a task waits while {len(slots)} slots are not all busy"
    return ""


def look_at_queues(firsts: dict[str, str], state: Path, now: float, parents: dict[int, int], slots: set[int]) -> str:
    """Returns why this worker is unhealthy by the first message of each queue, or an empty text."""
    # Every queue is looked at, so that each one's minute begins.
    waits = {queue: has_waited(first, state.with_suffix(f".{queue}"), now) for queue, first in firsts.items()}
    problems = (find_problem(first, waits[queue], parents, slots) for queue, first in firsts.items())
    return next(filter(None, problems), "")


def read_first_messages(queues: list[str]) -> dict[str, str]:
    """Returns a short name of the message that the broker hands out next, or an empty text, by its queue."""
    import hashlib

    import redis

    client = redis.Redis.from_url(os.environ["AIRFLOW__CELERY__BROKER_URL"], socket_timeout=5)
    firsts = {queue: client.lindex(queue, -1) for queue in queues}
    return {queue: hashlib.sha256(first).hexdigest() if first else "" for queue, first in firsts.items()}


def read_slots() -> tuple[dict[int, int], set[int]]:
    """Returns the parent of each process of this container, and the processes of the pool."""
    import psutil

    found = [process.info for process in psutil.process_iter(["pid", "ppid", "cmdline"])]
    parents = {info["pid"]: info["ppid"] for info in found}
    return parents, find_slots({info["pid"]: " ".join(info["cmdline"] or []) for info in found}, parents)


if __name__ == "__main__":
    queues = (sys.argv[1] if sys.argv[1:] else QUEUES).split(",")
    if problem := look_at_queues(read_first_messages(queues), STATE, time.time(), *read_slots()):
        sys.exit(f"FAIL: worker: expected it to take tasks, found {problem}; docker compose restart airflow-worker")
