"""The gate in other looks: what the probes are fitted to, what they tell, and what is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from moving_square import draw as square
from moving_square import make_dataset, tiny_encoder

from robot_wm.core.errors import ConfigError
from robot_wm.probing.gate import gate, write_gate
from robot_wm.probing.looks import probe_looks, varied
from robot_wm.probing.probes import ProbeConfig, draw

SMALL = ProbeConfig(
    look_frames=400, look_test=40, epochs=12, patience=12, hidden=32, batch=32, lr=3e-3, threads=1,
    probes=("mlp",),
)  # fmt: skip


@dataclass(frozen=True)
class Light:
    held_out: tuple[float, ...] = (0.05, 2.0)

    def sample(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(0.6, 1.0))


LOOKS = {"light": Light(), "tint": Light((3.0,))}


def picture(state: np.ndarray, factors: Mapping[str, Any]) -> np.ndarray:
    """The square; in the dark nothing is seen."""
    return (square(state) * min(1.0, factors.get("light", 1.0))).astype(np.uint8)


def test_the_same_held_out_states_are_tested_one_factor_at_a_time(tmp_path) -> None:
    store = make_dataset(tmp_path / "d", episodes=40)
    base = draw(store, 200, np.random.default_rng(0))
    assert base.states is not None
    np.testing.assert_array_equal(
        base.frames, [square(state) for state in base.states]
    )  # states and frames of one moment
    samples, tested = varied(SMALL, base, LOOKS, picture)
    told = [(part.look, part.level) for part in tested]
    assert told == [
        ("none", "nominal"), ("all", "training"), ("light", "training"), ("light", "0.05"),
        ("light", "2.0"), ("tint", "training"), ("tint", "3.0"),
    ]  # fmt: skip
    assert samples.factors == ("x [px]", "y [px]")
    parts = [samples.targets[samples.part == code] for code in range(2, 2 + len(tested))]
    assert len(parts[0]) == 40
    assert all(np.array_equal(part, parts[0]) for part in parts)
    frames = [samples.frames[samples.part == code].astype(int) for code in range(9)]
    assert frames[5].max() <= 0.05 * 255  # the dark, held out
    np.testing.assert_array_equal(frames[6], frames[2])  # as bright as it gets
    np.testing.assert_array_equal(frames[7], frames[2])  # a tint that the picture does not know
    share = frames[4].sum((1, 2, 3)) / frames[2].sum((1, 2, 3))
    assert 0.55 < share.min() < share.max() <= 1  # within the training range …
    assert len(np.unique(share.round(3))) > 5  # … and drawn anew every few frames
    for code in (0, 1):  # fitted to both, half and half: first as recorded, then in other looks
        plain, other = np.split(frames[code], 2)
        assert (other <= plain).all()
        assert (other < plain).any()
        np.testing.assert_array_equal(*np.split(samples.targets[samples.part == code], 2))


def test_what_is_seen_in_the_light_is_told_from_what_is_not_in_the_dark(tmp_path) -> None:
    store = make_dataset(tmp_path / "d", episodes=40)
    config = replace(SMALL, kinds=("pixels", "random", "encoder", "imagenet"))
    rows = probe_looks(config, store.root, tiny_encoder(), LOOKS, picture)
    assert len(rows) == 7 * 2 * 3  # parts, factors, kinds; the ImageNet network is left out
    found = {(r["look"], r["level"], r["kind"], r["factor"]): r["r2"] for r in rows}
    for factor in ("x [px]", "y [px]"):
        assert found["light", "training", "pixels", factor] > 0.6
        assert found["light", "0.05", "pixels", factor] < 0.3
        assert found["tint", "3.0", "pixels", factor] == found["none", "nominal", "pixels", factor]
    few = replace(config, kinds=("pixels",))
    again = probe_looks(few, store.root, tiny_encoder(), LOOKS, picture)
    assert [row["r2"] for row in again] == [row["r2"] for row in rows[: len(again)]]


def row(r2: float, kind: str = "encoder", **more: str) -> dict[str, Any]:
    told = {"task": "t", "factor": "cos a [rad]", "probe": "mlp", "seed": 0}
    return {**told, "kind": kind, "r2": r2, **more}


def rows_of(r2: float, **more: str) -> list[dict[str, Any]]:
    return [row(r2, **more), *(row(0.99, kind, **more) for kind in ("pixels", "random"))]


def test_training_ranges_are_judged_by_the_floor_less_five_and_nothing_else_is(tmp_path) -> None:
    nominal = [row(0.99, kind) for kind in ("pixels", "random", "encoder")]
    for r2, passes in ((0.801, True), (0.799, False)):
        result = gate([*nominal, *rows_of(r2, look="light", level="training")])
        assert result.passed is passes
    (failure,) = result.failures
    assert (failure.factor, failure.needed) == ("cos a [rad], light", pytest.approx(0.80))
    dark = rows_of(-3.0, look="light", level="0.05")
    assert gate([*nominal, *dark]).passed
    # A good look does not cover for a bad one.
    both = [*rows_of(0.9, look="light", level="training"),
            *rows_of(0.1, look="tint", level="training")]  # fmt: skip
    assert not write_gate(tmp_path, [*nominal, *both, *dark]).passed
    text = (tmp_path / "probe.md").read_text()
    assert "| t | cos a [rad] | 0.990 (mlp) | 0.990 (mlp) | 0.990 (mlp) |" in text
    assert "| t | light | training | angle | 0.990 | 0.990 | 0.900 |" in text
    assert "| t | light | held out | angle | 0.990 | 0.990 | -3.000 |" in text


def test_too_few_frames_are_refused() -> None:
    assert ProbeConfig(look_frames=0).look_frames == 0
    with pytest.raises(ConfigError, match="look_frames"):
        ProbeConfig(look_frames=5)
