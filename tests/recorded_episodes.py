"""Episodes step for step, so that a change of the code that must not move a number can show it.

    python tests/recorded_episodes.py            # compare with what is stored
    python tests/recorded_episodes.py --write    # store anew, after a change that should move them

The first pairs of every task's official list, with the shipped model in torch and in onnxruntime.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

STORED = Path(__file__).parent / "recorded_episodes.npz"
TASKS, METHODS, PAIRS = ("push_t", "two_room", "reacher"), ("jepa", "onnx"), 20


class _Noting:
    """An agent whose actions are kept."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.actions = agent, list[np.ndarray]()

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        self.actions = []
        self.agent.reset(goal, seed)

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        self.actions.append(np.array(self.agent.act(obs)))
        return self.actions[-1]


def run(task: str, method: str, count: int = PAIRS) -> dict[str, np.ndarray]:
    """Actions ``[count, budget, A]`` (NaN after the end) and final errors ``[count, K]``."""
    from planning.commands.evaluate import environment, needed_model, row_config, sources_of
    from planning.commands.parts.agents import recipe
    from planning.evaluation.evaluator import run_episode
    from planning.evaluation.stage import pair_lists
    from robot_wm.cli.main import Session, compose
    from robot_wm.core.system.machine import use_threads

    words = (f"task={task}", f"method=[{method}]", "workers=1", "threads=1")
    session = Session(compose(words), words)
    settings = session.settings
    use_threads(settings.threads)
    pairs = pair_lists(settings)[0]
    config = row_config(settings, method, pairs, 0)
    env = environment(settings)()
    sources = sources_of(session, method, needed_model(session))
    agent = _Noting(recipe(settings, method, sources)(env.spec))
    actions = np.full((count, pairs.budget, env.spec.control_dim), np.nan, np.float32)
    errors = []
    for index in range(count):
        done = run_episode(config, pairs, index, env, agent)
        actions[index, : len(agent.actions)] = agent.actions
        errors.append(list(done.final_error.values()))
    env.close()
    return {"actions": actions, "final_error": np.round(np.array(errors, np.float64), 6)}


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> np.ndarray:
    """Which episodes are the same step for step, bool ``[count]``."""
    count = len(ours["actions"])
    equal = np.isclose(ours["actions"], theirs["actions"][:count], atol=1e-6, equal_nan=True)
    return np.asarray(equal.reshape(count, -1).all(1))


def stored(task: str, method: str) -> dict[str, np.ndarray]:
    """What was recorded."""
    with np.load(STORED, allow_pickle=False) as kept:
        return {k: kept[f"{task}/{method}/{k}"] for k in ("actions", "final_error")}


def main() -> int:
    """Record or compare; 1 if an episode differs."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--write", action="store_true")
    options, found, differ = arguments.parse_args(), {}, 0
    for task in TASKS:
        for method in METHODS:
            made = run(task, method)
            found |= {f"{task}/{method}/{k}": v for k, v in made.items()}
            if not options.write:
                alike = same(made, stored(task, method))
                differ += int((~alike).sum())
                print(f"{task} {method}: {alike.sum()} of {len(alike)} episodes alike")
    if options.write:
        np.savez_compressed(STORED, **found)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
