"""What every agent of ``configs/agent`` keeps to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planning.agent.registry import ALIASES, agent_recipe, names, read_recipe
from planning.commands.evaluate import row_config
from planning.commands.parts.agents import recipe
from planning.commands.parts.row_facts import facts
from planning.evaluation.evaluator import PrivilegedObserver
from robot_wm.cli.main import compose
from robot_wm.cli.paths import PACKAGE
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import is_deferred, locate

ROOT = Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "configs/agent").glob("*.yaml"))
SHIPPED = PACKAGE / "weights" / "push_t", PACKAGE / "weights" / "encoders" / "64x64"
BUNDLE = PACKAGE / "weights" / "bundles" / "push_t", SHIPPED[1]
# Small searches: a candidate on the true simulator with a learned cost takes tens of milliseconds.
SMALL = (
    "task=push_t", "threads=1", "workers=1", "planner.options.candidates=24",
    "planner.options.iterations=1", "planner.options.elites=4", "planner.proposals=12",
    "oracle.options={candidates: 8, iterations: 1, elites: 2}", "oracle.proposals=4",
    "diagnosis.options={candidates: 12, iterations: 1, elites: 2}", "diagnosis.proposals=9",
)  # fmt: skip


class Pairs:
    family, split, task, name = "official", "test", "push_t", "push_t"


@pytest.fixture(scope="module")
def scene():
    from sim import make

    env = make("push_t", 64)
    yield env
    env.close()


def test_names_and_files_are_the_same() -> None:
    assert set(names()) == {*FILES, *ALIASES}
    assert {agent for agent, _ in ALIASES.values()} <= set(FILES)
    for name, (agent, backend) in ALIASES.items():
        assert agent_recipe(name).name == name == agent_recipe(agent, backend or "torch").name


@pytest.mark.parametrize("method", sorted({*FILES, "onnx"}))
def test_it_acts_within_bounds_and_by_its_seed_alone(method: str, scene) -> None:
    settings, known = compose(SMALL), agent_recipe(method)
    folders = BUNDLE if known.backend == "onnx" and known.needs_model else SHIPPED
    make = recipe(settings, method, folders)
    assert is_deferred(make)
    spec, acted = scene.spec, []
    for _ in range(2):
        agent = make(spec)
        assert isinstance(agent, PrivilegedObserver) == (known.inputs == "state")
        goal, at_goal = scene.reset(seed=1)
        obs, info = scene.reset(seed=0)
        if isinstance(agent, PrivilegedObserver):
            agent.watch(info, at_goal)
        blind = {"proprio": np.zeros(0, np.float32)}
        agent.reset({**goal, **blind}, 5)
        acted.append(np.asarray(agent.act({**obs, **blind})))
    assert acted[0].shape == (spec.control_dim,)
    assert acted[0].tobytes() == acted[1].tobytes()
    assert (acted[0] >= np.float32(spec.control_low)).all()
    assert (acted[0] <= np.float32(spec.control_high)).all()


@pytest.mark.parametrize("name", FILES)
def test_its_recipe_names_what_exists_and_its_rows_say_so(name: str) -> None:
    known, settings = agent_recipe(name), compose([])
    assert callable(locate(known.recipe["_target_"]))
    config = row_config(settings, name, Pairs(), None)  # type: ignore[arg-type]
    assert (config.method, config.inputs) == (known.name, known.inputs)
    assert ("proposals" in facts(settings, name, None)) == bool(known.section)


def test_a_part_that_no_run_brings_is_refused() -> None:
    with pytest.raises(ConfigError, match="wrold_model"):
        read_recipe("_target_: planning.agent.build.mpc_agent\nmodel: ${wrold_model}")
    with pytest.raises(ConfigError, match="_target_"):
        read_recipe("model: 3")
