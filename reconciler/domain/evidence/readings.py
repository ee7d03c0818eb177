"""Which of several readings of a metric is meant."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.evidence.facts import Reading
from reconciler.domain.evidence.shares import is_finite


def latest(readings: Sequence[Reading]) -> Sequence[Reading]:
    """Those of the highest step and time: more than one where they cannot be told apart."""
    last = max((reading.step, reading.timestamp) for reading in readings)
    return [reading for reading in readings if (reading.step, reading.timestamp) == last]


def at_step(readings: Sequence[Reading], step: int) -> Sequence[Reading]:
    """Of this step the latest."""
    there = [reading for reading in readings if reading.step == step]
    return latest(there) if there else []


def best(readings: Sequence[Reading], *, higher: bool) -> Sequence[Reading]:
    """The one whose number is the highest, or the lowest; the latest where there is none."""
    numbers = [reading for reading in readings if reading.value is not None and is_finite(reading.value)]
    if not numbers:
        return latest(readings)
    return [(max if higher else min)(numbers, key=lambda reading: (reading.value, -reading.step))]


def several_datasets(readings: Sequence[Reading]) -> str:
    """What is wrong where they were measured on several datasets; "" where they were not."""
    datasets = sorted({reading.dataset_name or "(none)" for reading in readings})
    if len(datasets) > 1:
        return f"measured on several datasets ({', '.join(datasets)}): the policy must name one"
    return ""


def several_values(readings: Sequence[Reading]) -> str:
    """What is wrong where several values stand at one place; "" where they do not."""
    texts = sorted({reading.text for reading in readings})
    return f"several values at one step and time: {', '.join(texts)}" if len(texts) > 1 else ""
