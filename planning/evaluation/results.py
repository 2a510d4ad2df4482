"""Result rows: what one evaluation leaves behind, one JSON line each (docs of keys below)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from planning.evaluation.goal_pairs import PairList
from planning.evaluation.statistics import wilson
from robot_wm.core.config import Count, Natural, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.measured_rows import add_measured, read_measured
from robot_wm.core.storage.provenance import provenance, sha256_of, usable_cores

if TYPE_CHECKING:
    from planning.evaluation.config import EvaluateConfig

# What the caller knows about its method; every key is in the row, null when unknown.
DESCRIBED = (
    "backend", "random_pct", "budget_class", "views", "candidates", "iterations", "horizon",
    "execute", "image_size", "encoder_id", "encoder_sha256", "frozen", "calibrated",
)  # fmt: skip
# A cell of the tables, and what makes a row the same one when it is run again.
IDENTITY = ("row", "method", "backend", "train_seed", "eval_seed", "pair_list_sha256")
RUN = (*IDENTITY, "config_sha256", "model_sha256", "bundle_sha256")


class RowName(NamedTuple):
    """A row name taken apart."""

    family: str
    task: str
    factor: str
    modifiers: tuple[str, ...]


def parse_row(name: str) -> RowName:
    """Take ``family/task[/factor:level][@modifier]...`` apart.

    Raises:
        ConfigError: a name of another form.
    """
    path, *modifiers = name.split("@")
    parts = path.split("/")
    if len(parts) not in (2, 3) or not all([*parts, *modifiers]):
        raise ConfigError(
            f"row name {name!r}", "family/task[/factor:level][@modifier]", "rename the row"
        )
    return RowName(parts[0], parts[1], "/".join(parts[2:]), tuple(modifiers))


@dataclass(frozen=True)
class EpisodeResult:
    """One episode.

    Attributes:
        steps: control steps executed until the first family ended the episode.
        traces: per family, whether each step satisfied the predicate (hold included); those of
            further families may be longer than ``steps``.
        clipped_fraction: share of action entries the evaluator had to clip.
        final_error: change of pose still missing at the end, per entry, in its unit.
        encode_s, plan_s: wall time of each perception and of each plan [s].
        counts: what the agent counted, see :class:`planning.agent.timing.realtime_mpc.RealTimeMPC`.
    """

    pair_id: str
    steps: int
    traces: Mapping[str, list[bool]]
    clipped_fraction: float
    final_error: Mapping[str, float]
    encode_s: list[float]
    plan_s: list[float]
    counts: Mapping[str, int] = field(default_factory=dict)

    def first_hit(self, family: str) -> int | None:
        """Control steps until the first success, counted from 1; None if there was none."""
        trace = self.traces[family]
        return trace.index(True) + 1 if True in trace else None


def pack_trace(trace: Sequence[bool]) -> str:
    """A bit per step as hexadecimal text, first step in the highest bit, zero-padded."""
    return np.packbits(np.asarray(trace, bool)).tobytes().hex()


def unpack_trace(text: str, steps: int) -> list[bool]:
    """Inverse of :func:`pack_trace`."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=steps)
    return bits.astype(bool).tolist()


def _percentile_ms(seconds: Iterable[float], q: float) -> float | None:
    """Percentile in milliseconds; None without measurements."""
    values = list(seconds)
    return round(float(np.percentile(values, q)) * 1e3, 3) if values else None


@dataclass(frozen=True)
class EvaluationResult:
    """All episodes of one (row, method, training seed, evaluation seed), in pair order."""

    config: EvaluateConfig
    pairs: PairList
    episodes: list[EpisodeResult]

    @property
    def families(self) -> tuple[str, ...]:
        """Predicates scored; the first is the row's own."""
        return self.config.families or (self.pairs.family,)

    def hits(self, family: str | None = None) -> np.ndarray:
        """Success per episode, bool ``[N]``."""
        name = family or self.families[0]
        return np.array([episode.first_hit(name) is not None for episode in self.episodes])

    def row(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON row.

        Args:
            info: facts about the method: the keys of ``DESCRIBED``, ``config_sha256``, and any
                further ones; never a key the evaluator measures.

        Raises:
            ConfigError: ``info`` claims something the evaluator measures.
        """
        # What makes goal pictures is no plain data; the row's name says it.
        plain = asdict(replace(self.config, goal=None))
        row = {**dict.fromkeys(DESCRIBED), "config_sha256": sha256_of(plain)}
        row["backend"], row["calibrated"] = "torch", False
        measured = self._measured()
        clash = sorted(set(info) & set(measured))
        if clash:
            raise ConfigError(
                f"{clash} given from outside", "what the evaluator did not measure", "drop them"
            )
        return {**row, **info, **measured}

    def _measured(self) -> dict[str, Any]:
        family, episodes = self.families[0], self.episodes
        solved, total = int(self.hits().sum()), len(episodes)
        low, high = wilson(solved, total)
        encode = [s for e in episodes for s in e.encode_s]
        plan = [s for e in episodes for s in e.plan_s]
        # What a robot waits for: perception and search, without rendering.
        latency = [sum(both) for e in episodes for both in zip(e.encode_s, e.plan_s, strict=False)]
        return {
            "row": self.config.row,
            "task": self.pairs.task,
            "method": self.config.method,
            "inputs": self.config.inputs,
            "train_seed": self.config.train_seed,
            "eval_seed": self.pairs.eval_seed,
            "family": family,
            "episodes": total,
            "successes": solved,
            "success_pct": round(100 * solved / total, 4),
            "wilson_low": round(100 * low, 4),
            "wilson_high": round(100 * high, 4),
            "secondary_metrics": {
                name: {
                    "successes": int(self.hits(name).sum()),
                    "success_pct": round(100 * float(self.hits(name).mean()), 4),
                    "first_hit": [e.first_hit(name) for e in episodes],
                }
                for name in self.families[1:]
            },
            "pair_ids": [e.pair_id for e in episodes],
            "first_hit": [e.first_hit(family) for e in episodes],
            "steps": [e.steps for e in episodes],
            "success_trace": [pack_trace(e.traces[family]) for e in episodes],
            "final_error": {
                name: [round(float(e.final_error[name]), 6) for e in episodes]
                for name in episodes[0].final_error
            },
            "clipped_fraction": round(float(np.mean([e.clipped_fraction for e in episodes])), 6),
            "pair_list_sha256": self.pairs.sha256,
            "dataset_sha256": self.pairs.dataset_sha256,
            "split": self.pairs.split,
            "pairs_seed": self.pairs.seed,
            "offset": self.pairs.offset,
            "budget": self.pairs.budget,
            "stop_on_success": self.config.stop_on_success,
            "planner_seed_rule": f"sha256({self.config.seeded_as or 'row'}:pair_id:eval_seed)",
            "encode_ms_p50": _percentile_ms(encode, 50),
            "plan_ms_p50": _percentile_ms(plan, 50),
            "plan_ms_p95": _percentile_ms(plan, 95),
            "plan_ms_p99": _percentile_ms(plan, 99),
            "latency_ms_p50": _percentile_ms(latency, 50),
            "latency_ms_p99": _percentile_ms(latency, 99),
            "latency_ms_max": _percentile_ms(latency, 100),
            "plans_per_episode": round(len(plan) / total, 3),
            "counts": {name: sum(e.counts[name] for e in episodes) for name in episodes[0].counts},
            "workers": self.config.workers,
            "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or usable_cores(),
            **provenance(),
        }


@dataclass(frozen=True)
class Known:
    """What every row says and tables count on.

    Attributes:
        row, method, backend, pair_list_sha256: see :data:`IDENTITY`.
        train_seed, eval_seed: None where there is none.
        episodes, successes: numbers of episodes.
        success_pct: their share [%].

    Raises:
        ConfigError: a row name of another form, or a share that is not that of the numbers.
    """

    row: str
    method: str
    backend: str | None
    train_seed: int | None
    eval_seed: int
    pair_list_sha256: str
    episodes: Count
    successes: Natural
    success_pct: Annotated[float, Within(0, 100)]

    def __post_init__(self) -> None:
        parse_row(self.row)
        share = 100 * self.successes / self.episodes
        if abs(share - self.success_pct) > 0.01:
            raise ConfigError(
                f"{self.successes} of {self.episodes} are {self.success_pct} %", f"{share:.4f} %",
                "correct the row",
            )  # fmt: skip


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of one results file, see :func:`read_measured`."""
    return read_measured(path, Known)


def find_row(
    path: Path, config: EvaluateConfig, pairs: PairList, info: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The row of a file that a run would give: all of :data:`RUN` as it would be; None without."""
    wanted = {
        "backend": "torch",
        **info,
        "row": config.row,
        "method": config.method,
        "train_seed": config.train_seed,
        "eval_seed": pairs.eval_seed,
        "pair_list_sha256": pairs.sha256,
    }
    rows = read_rows(path) if path.is_file() else []
    return next((r for r in rows if all(r.get(k) == wanted.get(k) for k in RUN)), None)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row; the same run done again (:data:`RUN`) replaces its row, and nothing else does."""
    add_measured(path, [dict(row)], Known, RUN)
