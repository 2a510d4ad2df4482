import re
from html.parser import HTMLParser

import numpy as np
import pytest
from point_world import SPEED, PointEnv, SteerAgent, point_store

from planning.agent.mpc import MPCAgent
from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import evaluate, random_agent
from planning.evaluation.sample_pairs import PairsConfig, make_pair_lists
from planning.optimizers.cem import CEM
from planning.reporting.charts import png_uri, ramp, scaled
from planning.reporting.episode_recorder import FAN, GRID, Imagination, grid_actions
from planning.reporting.html_report import record_episode, render_report, write_report
from robot_wm.core.protocols import History, ModelSpec

FAMILIES = ("official", "moderate", "strict")
BLOCK = 5


class PointModel:
    """Knows the point world exactly: cost = squared distance after each block."""

    spec = ModelSpec("point", (-1.0,) * 2 * BLOCK, (1.0,) * 2 * BLOCK, 2, 0.1, 1, 2, 16)

    def encode(self, history: History):
        return history.proprio[-1].astype(np.float64)

    def step_costs(self, state, goal, actions):
        moves = SPEED * actions.reshape(len(actions), actions.shape[1], BLOCK, 2).sum(2)
        return ((state + moves.cumsum(1) - goal) ** 2).sum(-1).astype(np.float32)

    def nearest_frames(self, state, actions):
        return np.full((len(actions), 16, 16, 3), 77, np.uint8)


class Note:
    def __init__(self, **values):
        self.__dict__.update(values)


class PlanningAgent(SteerAgent):
    """Plans straight lines and keeps notes like the real agent's."""

    record = False

    def __init__(self):
        self.model = PointModel()

    def reset(self, goal, seed):
        super().reset(goal, seed)
        self.records, self.step, self.rng = [], 0, np.random.default_rng(seed)

    def act(self, obs):
        if self.step % BLOCK == 0 and self.record:
            goal, state = self.goal.astype(float), obs["proprio"].astype(float)
            some = self.rng.uniform(-1, 1, (80, 2, 2 * BLOCK)).astype(np.float32)
            costs = self.model.step_costs(state, goal, some)[:, -1]
            best = some[costs.argmin()]
            steps = self.model.step_costs(state, goal, best[None])[0]
            self.records.append(
                Note(step=self.step, state=state, actions=best, candidates=some,
                     candidate_costs=costs, step_costs=steps)
            )  # fmt: skip
        self.step += 1
        return super().act(obs)


@pytest.fixture(scope="module")
def made_pairs(tmp_path_factory):
    store = point_store(tmp_path_factory.mktemp("points"), episodes=150)
    config = PairsConfig("strict", count=4, offset=10, budget=12, eval_seeds=(0,))
    return make_pair_lists(config, store, PointEnv().success, FAMILIES)[0]


@pytest.fixture(scope="module")
def made(made_pairs):
    pairs = made_pairs
    steer = EvaluateConfig("strict/point", "steer <b>", 1, inputs="pixels+proprio")
    floor = EvaluateConfig("strict/point@random", "random")
    rows = [
        evaluate(steer, pairs, PointEnv, lambda spec: SteerAgent()).row({"calibrated": True}),
        evaluate(floor, pairs, PointEnv, random_agent).row({}),
    ]
    won = record_episode(steer, pairs, 0, PointEnv(), PlanningAgent())
    lost = record_episode(floor, pairs, 1, PointEnv(), random_agent(PointEnv().spec))
    return rows, won, lost


def test_a_recording_is_the_evaluated_episode(made):
    rows, won, lost = made
    assert won.hit == rows[0]["first_hit"][0]
    assert lost.hit is None
    assert len(won.frames) == won.result.steps + 1
    assert won.distance[-1] < 0.05 < won.distance[0]
    # The exact model stands still: its energy is the squared true distance.
    for plan in won.plans:
        assert plan.energy == pytest.approx(won.distance[plan.step] ** 2, rel=1e-3, abs=1e-6)
        assert plan.paths.shape == (FAN, 2 * BLOCK, 2)
        assert plan.costs[0] == plan.costs.min()
    assert isinstance(PointModel(), Imagination)
    assert won.plans[0].imagined.shape == (2, 16, 16, 3)
    assert not lost.plans


def test_landscape_moves_the_first_block_only_and_finds_the_minimum(made):
    low, high = np.full(2, -1.0), np.full(2, 1.0)
    plan = np.random.default_rng(0).uniform(-0.1, 0.1, (3, 2 * BLOCK)).astype(np.float32)
    grid = grid_actions(plan, 2, low, high).reshape(GRID, GRID, 3, BLOCK, 2)
    means = grid[:, :, 0].mean(2)
    np.testing.assert_allclose(means[3, 7], [-1 + 3 / 7, 0.0], atol=1e-6)
    np.testing.assert_array_equal(grid[5, 9, 1:].reshape(2, -1), plan[1:])
    assert np.abs(grid).max() <= 1
    view = made[1].plans[0]
    pair = made[1].pair
    gap = np.array(pair.goal_pose) - np.array(pair.start_pose)
    rest = view.chosen[-1] - view.chosen[BLOCK - 1]  # what the second block adds
    wanted = np.clip((gap / SPEED - rest) / BLOCK, -1, 1)
    best = np.unravel_index(view.landscape.argmin(), view.landscape.shape)
    # Clipping flattens the block's shape near a bound; inside, one cell is 1/7.
    inside = np.abs(wanted) < 0.5
    got = np.linspace(-1, 1, GRID)[list(best)]
    np.testing.assert_allclose(got[inside], wanted[inside], atol=0.3)


def test_the_real_agent_plans_in_the_exact_model_and_is_recorded(made_pairs):
    config = EvaluateConfig("strict/point", "cem", 0, inputs="pixels+proprio")
    agent = MPCAgent(PointModel(), CEM(candidates=64, iterations=4, elites=8), horizon=2)
    shown = record_episode(config, made_pairs, 0, PointEnv(), agent)
    assert [plan.step for plan in shown.plans] == [0, 5, 10][: len(shown.plans)]
    assert shown.plans[0].energy == pytest.approx(shown.distance[0] ** 2, rel=1e-3)
    assert shown.distance[-1] < 0.5 * shown.distance[0]  # it really steers by its model
    assert len(shown.result.plan_s) == len(shown.plans)
    assert "Plan made at control step 0" in render_report([], [shown], "t")


class Page(HTMLParser):
    """Collects what a reader without scripts and network meets."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.images, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.sources += [values[k] for k in ("src", "href") if k in values]
        if tag == "img":
            self.images.append(values)


def test_page_is_whole_offline_accessible_and_shows_failures_first(made, tmp_path):
    rows, won, lost = made
    path = tmp_path / "report.html"
    write_report(path, rows, [won, lost], "Points & <script>alert(1)</script>")
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"https?://|//cdn|@import", text)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "script" not in page.tags
    assert "b" not in page.tags  # the method's name is text, not markup
    assert all(image["alt"] for image in page.images)
    assert png_uri(won.goal) in text
    assert png_uri(lost.goal) in text
    assert text.index(lost.pair.pair_id) < text.index(won.pair.pair_id)
    assert text.index("Failures (1)") < text.index("Successes (4, 1 of them shown)")
    assert text.count("data:image/webp") == 2
    assert "privileged, scoring only" in text
    assert rows[0]["pair_list_sha256"] in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_table_cells_are_the_rows_numbers(made):
    rows = [{**made[0][0], "success_pct": 61.04, "wilson_low": 57.06, "train_seed": 1}]
    text = render_report(rows, [], "t")
    assert '<td class="n">61.0</td><td class="n">57.1</td>' in text
    assert "<td>1</td><td>0</td>" in text  # seeds 1 and 0 are numbers, not yes and no
    assert "None shown" in text


def test_colours_and_scaling():
    assert ramp(np.array([0.0, 1.0, 0.5])) == ["#440154", "#fde725", "#21918c"]
    np.testing.assert_array_equal(scaled(np.array([2.0, 4.0, 3.0])), [0, 1, 0.5])
    np.testing.assert_array_equal(scaled(np.array([2.0, 2.0])), [0, 0])
