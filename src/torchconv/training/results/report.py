"""A run's results on one page, report.html: whole in itself, without a script or anything from a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...drawing import charts
from ...errors import DataError
from ...text import duration, megabytes, percent, printable, short_count, some
from ..objectives import Evaluation
from ..run import run_folder
from ..run.new_run import write
from ..run.run_folder import is_number
from .evaluate import evaluation_of

MOST_ROWS, MOST_TEXT = 400, 20_000


def write_report(path: str | Path, evaluation: Evaluation | None = None) -> None:
    """Write report.html into a run folder, in place of an older one; the same inputs give the same bytes.

    evaluation: on images the run has not learned from; None computes it from the run's data, and where they are not
    to be had, the page says why instead. Raises DataError for a folder that is no run, or where
    the file cannot be written.
    """
    run = run_folder.load(path)
    metrics, reason = {}, ""
    with suppress(DataError):  # a report can do without them
        metrics = run.metrics()
    if evaluation is None:
        try:
            evaluation = evaluation_of(run)
        except DataError as error:
            reason = str(error)
    write(run.path / run_folder.REPORT, render(run, metrics, evaluation, reason))


def render(run: run_folder.Run, metrics: Mapping[str, Any], evaluation: Evaluation | None, reason: str = "") -> str:
    """The page. reason: why there is no evaluation."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["printable"] = printable
    template = page.from_string(Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8"))
    network, config, text = run.module.network, run.config, run.text
    return template.render(
        name=run.path.resolve().name,
        headline=_headline(run, metrics, evaluation),
        curves=_curves(metrics, run.objective.score, run.objective.called),
        filters=charts.filters(run.module),
        sections=None if evaluation is None else evaluation.sections(),
        reason=reason,
        rows=network.rows[:MOST_ROWS],
        more=max(0, len(network.rows) - MOST_ROWS),
        network=network,
        text=text[:MOST_TEXT].strip() + ("…" if len(text) > MOST_TEXT else ""),
        data=_data(config, run.classes),
        settings=_pairs(config.settings),
        versions=_pairs(config.versions),
    )


def _headline(
    run: run_folder.Run, metrics: Mapping[str, Any], evaluation: Evaluation | None
) -> list[tuple[str, str, str]]:
    """Numbers for the top of the page: value, what it is, and a remark."""
    final = metrics.get("final")
    final = final if isinstance(final, dict) else {}
    score, found = run.objective.score, []
    called = run.objective.called or score
    for split in ("test", "validation"):
        if is_number(value := final.get(f"{split}_{score}")):
            images = run.config.images.get(split)
            found.append((percent(value), f"{split} {called}", f"{images:,} images" if images else ""))
    if evaluation is not None and not found:
        found.append((percent(evaluation.score), f"{called} ({evaluation.split})", ""))
    network = run.module.network
    found.append((short_count(network.parameters), "parameters", f"{network.parameters:,}"))
    found.append((short_count(network.macs), "multiply-accumulates", "for one image"))
    if is_number(size := final.get("model_bytes")):
        found.append((megabytes(size), "weights", ""))
    if is_number(seconds := final.get("seconds")):
        epochs = len(_epochs(metrics))
        found.append((duration(seconds), "training", f"{epochs} epochs" if epochs != 1 else "1 epoch"))
    return found


def _curves(metrics: Mapping[str, Any], score: str, called: str) -> list[tuple[str, Any]]:
    """Loss and score over the epochs."""
    rows, best = _epochs(metrics), metrics.get("best_epoch")
    found = []
    for what in ("loss", score):
        title, lines = (called or what.capitalize()) if what == score else what.capitalize(), []
        for split in ("train", "validation"):
            pairs = ((row["epoch"], row.get(f"{split}_{what}")) for row in rows)
            lines.append((split, [(float(x), float(y)) for x, y in pairs if is_number(y)]))
        drawn = charts.curves(lines, best if type(best) is int else None, f"{title} of each epoch")
        if drawn:
            found.append((title, drawn))
    return found


def _epochs(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = metrics.get("epochs")
    rows = rows if isinstance(rows, list) else []
    return [row for row in rows if isinstance(row, dict) and is_number(row.get("epoch"))]


def _data(config: run_folder.Config, classes: Sequence[str]) -> list[tuple[str, str]]:
    images = ", ".join(f"{count:,} {split}" for split, count in config.images.items())
    scaling = "; ".join(f"{mean:.4f} ± {std:.4f}" for mean, std in zip(config.mean, config.std, strict=True))
    found = {"data": config.data, "kind": config.data_kind, "images": images, "input": config.input}
    found |= {f"{len(classes)} classes": some(classes, 50), "mean ± deviation of the channels": scaling}
    return list(found.items())


def _pairs(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(name).replace("_", " "), str(value)[:200]) for name, value in found.items()]
