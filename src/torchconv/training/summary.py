"""What a training is about to do, in a few lines before its first step."""

from __future__ import annotations

import torch

from ..text import short_count, some
from .task import Task

SAID = {"train": "to learn from", "validation": "for validation", "test": "for the test"}


def summary(task: Task) -> list[str]:
    """The data with their classes, the network, and how it will be trained."""
    source, recipe, network = task.source, task.recipe, task.network
    counts = ", ".join(f"{count:,} images {SAID[split]}" for split, count in task.counts.items() if count)
    known = f", {source.labels.known}" if source.labels and source.labels.known else ""
    found = [f"{source.name}: {counts}"]
    found.append(f"{len(source.classes)} classes{known}: {some(source.classes, 30)}")
    if source.labels is not None:
        void = [entry.name or str(entry.value) for entry in source.labels.ignored]
        found[-1] += f"; of no class: {', '.join(void) or 'nothing'}"
    macs = f"{short_count(network.macs)} multiply-accumulates for {network.input}"
    found.append(f"network: {short_count(network.parameters)} parameters, {macs}")
    threads, batch = torch.get_num_threads(), min(recipe.batch_size, task.counts["train"])
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {threads} thread{'s' * (threads > 1)}"
    world = f", {task.processes.world} processes" if task.processes.world > 1 else ""
    epochs = f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)} of {task.counts['train'] // batch} steps"
    found.append(f"training: {epochs} of {batch} images, {recipe.precision}, on {place}{world}")
    return found
