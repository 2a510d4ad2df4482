"""The committed rows as the ledger asks for them, each number with its pairs and its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from planning.comparison import results as comparison
from planning.evaluation.results import parse_row
from planning.ledger import measurements
from planning.reporting.tables import is_random, load_all
from planning.surprise import results as surprise
from robot_wm.core.errors import DataError
from robot_wm.core.storage.json_io import read_json, read_lines

Row = dict[str, Any]
GENERATIVE = ("dreamer", "world_models", "genie", "genie_true", "sora")  # they draw what will be
OURS = "jepa"
ENCODERS = "encoders"  # folder of the shipped ones, one for each image size


@dataclass(frozen=True)
class LogEntry:
    """A line of ``docs/log.md``: a note, mostly without rows."""

    date: str
    what: str
    outcome: str


@dataclass(frozen=True)
class Evidence:
    """All that a checkout knows.

    Args:
        root: of the checkout.
        sooner: by file of learning curves, how much sooner each objective knows what masked
            autoencoding knows in the end: ``objective``, ``seed``, ``dataset``, ``cpu_ratio``,
            ``samples_ratio``.
    """

    root: Path
    sooner: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        """Where rows lie."""
        return self.root / "results"

    @cached_property
    def evaluations(self) -> list[Row]:
        """Of held-out pairs, the newest of each cell."""
        return load_all(self.results)

    @cached_property
    def surprise(self) -> list[Row]:
        """Of ``robot-wm physics``, newest first asked."""
        files = self._files(surprise.FOLDER)
        return [row for file in files for row in surprise.newest(surprise.read_rows(file))]

    @cached_property
    def compared(self) -> list[Row]:
        """Of ``robot-wm compare``, a row a task and model: means over training seeds.

        On encoders that learnt; without one it is no model of ours.
        """
        files = self._files(comparison.FOLDER)
        rows = [row for file in files for row in comparison.newest(comparison.read_rows(file))]
        return comparison.over_seeds([row for row in rows if not row.get("encoder")])

    @cached_property
    def measured(self) -> list[Row]:
        """Made for one claim alone."""
        files = self._files(measurements.FOLDER)
        return measurements.newest([row for f in files for row in measurements.read_rows(f)])

    @cached_property
    def probes(self) -> list[Row]:
        """Of the probe gate."""
        path = self.results / "encoder" / "probe.jsonl"
        return read_lines(path, whole=True) if path.is_file() else []

    @cached_property
    def objectives(self) -> list[Row]:
        """Of pretraining objectives side by side."""
        files = [f for f in self._files("encoder", "objectives-*") if "-curve" not in f.stem]
        return [row for file in files for row in read_lines(file, whole=True)]

    @cached_property
    def latencies(self) -> dict[str, Row]:
        """Of exported planners, by the rest of their file's name."""
        files = sorted((self.results / "export").glob("latency-*.json"))
        return {file.stem.removeprefix("latency-"): read_json(file) for file in files}

    @cached_property
    def log(self) -> list[LogEntry]:
        """Lines of the log."""
        entries = []
        for line in (self.root / "docs" / "log.md").read_text(encoding="utf-8").splitlines():
            cells = line.strip("| ").split(" | ")
            if len(cells) == 4 and cells[0][:2] == "20":
                entries.append(LogEntry(*cells[:3]))
        return entries

    def _files(self, folder: str, name: str = "*") -> list[Path]:
        return sorted((self.results / folder).glob(f"{name}.jsonl"))

    def noted(self, begins: str) -> LogEntry:
        """The line of the log that begins with these words.

        Raises:
            DataError: none does, or several do.
        """
        found = [e for e in self.log if e.what.replace("**", "").startswith(begins)]
        if len(found) != 1:
            raise DataError(
                f"{len(found)} lines of docs/log.md begin with {begins!r}", "one",
                "quote another line in planning/ledger/modules.py",
            )  # fmt: skip
        return found[0]

    def cell(self, row: str, method: str) -> list[Row]:
        """Rows of one name and method on its own back end, of the first training seed."""
        backend = "onnx" if method == "onnx" else "torch"
        wanted = (row, method, backend)
        found = [r for r in self.evaluations if (r["row"], r["method"], r["backend"]) == wanted]
        return [r for r in found if r["train_seed"] == found[0]["train_seed"]]

    def drops(self, task: str, method: str) -> dict[str, dict[str, float]]:
        """Points of success lost at each held-out level that was run, on the same pairs.

        By the method with the modifiers of its rows, e.g. ``onnx @contrast``: other weights or
        another search have drops of their own.
        """
        from planning.reporting.zero_shot import NONE, score

        found: dict[str, dict[str, list[Row]]] = {}
        for row in self.evaluations:
            name = parse_row(row["row"])
            if (name.family, name.task, row["method"]) == ("zs", task, method):
                label = " ".join((method, *(f"@{m}" for m in name.modifiers)))
                found.setdefault(label, {}).setdefault(name.factor, []).append(row)
        drops: dict[str, dict[str, float]] = {}
        for label, levels in found.items():
            nominal = levels.pop(NONE, [])
            scores = [score(level, rows, nominal, None, None) for level, rows in levels.items()]
            drops[label] = {each.level: each.drop for each in scores if each.drop is not None}
        return drops

    def random(self, row: str) -> list[Row]:
        """Rows of random actions on a list."""
        return [r for r in self.evaluations if is_random(r) and r["row"] == f"{row}@random"]

    def shipped(self, name: str) -> set[str]:
        """Hashes of weights in the package: of a task's world model, or of all ``encoders``."""
        folder = self.root / "robot_wm" / "weights" / name
        files = folder.glob("*/manifest.json" if name == ENCODERS else "manifest.json")
        return {str(read_json(file)["sha256"]) for file in files}

    def weights(self, name: str, digest: str | None, said: str | None = "shipped") -> str:
        """Which weights a number is of, in words.

        Args:
            name: see :meth:`shipped`.
            said: the name they were asked for by.
        """
        if digest is None:
            return "no weights"
        if digest in self.shipped(name):
            return f"the shipped weights `{digest[:8]}`"
        named = "earlier weights" if said in (None, "shipped") else f"weights {said}"
        return f"{named} `{digest[:8]}`"

    def of_weights(self, rows: Iterable[Row]) -> str:
        """The weights of rows of one task."""
        found = [self.weights(r["task"], r.get("model_sha256"), r.get("weights")) for r in rows]
        return ", ".join(dict.fromkeys(found))


def share(rows: Sequence[Row]) -> float:
    """Success [%] over all episodes of some rows."""
    episodes = sum(row["episodes"] for row in rows)
    return 100 * sum(row["successes"] for row in rows) / episodes


def secondary(rows: Sequence[Row], family: str) -> float | None:
    """Success [%] by a further predicate scored on the same episodes; None if one lacks it."""
    scored = [(row.get("secondary_metrics") or {}).get(family) for row in rows]
    if not scored or any(each is None for each in scored):
        return None
    return float(np.mean([each["success_pct"] for each in scored if each is not None]))


def said(evidence: Evidence, label: str, rows: Sequence[Row]) -> str:
    """A number with all that it is of: ``label: 81.0 % (strict 59.0) of 100 pairs, …``."""
    if not rows:
        return f"{label}: not measured"
    strict = secondary(rows, "strict")
    extra = "" if strict is None else f" (strict predicate {strict:.1f})"
    pairs = sum(row["episodes"] for row in rows)
    plan = [row["plan_ms_p50"] for row in rows if row.get("plan_ms_p50") is not None]
    took = f", {np.median(plan):.1f} ms a plan" if plan else ""
    weights = evidence.of_weights(rows)
    return f"{label}: **{share(rows):.1f} %**{extra} of {pairs} pairs{took}, {weights}"
