"""Brokers of tests: many, each for a short while, on few cores."""

from __future__ import annotations

from typing import Final

FEW_CORES: Final = ("-XX:TieredStopAtLevel=1",)
"""Without the optimizing compiler, which costs more than what it makes faster pays back: a third of
the processor time of a broker's start, a fifth of what it needs idle."""
