import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from point_world import SPEED, PointEnv, SteerAgent, point_store

from planning.agent.baselines import random_agent
from planning.agent.mpc import MPCAgent
from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import evaluate
from planning.evaluation.sample_pairs import PairsConfig, make_pair_lists
from planning.optimizers.cem import CEM
from planning.reporting import charts, units
from planning.reporting.episode_recorder import FAN, GRID, Imagination, grid_actions, record_episode
from planning.reporting.html_report import card, evenly, render_report, write_report
from planning.reporting.index import write_index
from planning.reporting.pictures import film, picture
from robot_wm.core.criteria import Criterion
from robot_wm.core.protocols import History, ModelSpec

FAMILIES = ("official", "moderate", "strict")
BLOCK = 5


def gap(poses, goal):
    return np.linalg.norm(poses - goal, axis=-1)


class SeenPointEnv(PointEnv):
    """The point world, able to say what it measures and where the point goes in the picture."""

    def criteria(self, family):
        limit = 0.05 if family == "strict" else 0.1
        return Criterion("gap & <i>", "m", limit, gap), Criterion("turn", "rad", 0.5, gap)

    def foresee(self, state, actions):
        moved = np.cumsum(np.pad(SPEED * actions, ((0, 0), (1, 0), (0, 0))), axis=1)
        return {"point": (state + moved + 2) / 4}


class LargePointEnv(PointEnv):
    """The same scene in pictures twice as large."""

    def _out(self):
        obs, info = super()._out()
        return {**obs, "image": obs["image"].repeat(2, 0).repeat(2, 1)}, info


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
        self.model, self.records = PointModel(), []

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
    env = SeenPointEnv()
    won = record_episode(steer, pairs, 0, env, PlanningAgent(), LargePointEnv())
    lost = record_episode(floor, pairs, 1, PointEnv(), random_agent(PointEnv().spec))
    return rows, won, lost


def test_a_recording_is_the_evaluated_episode(made):
    rows, won, lost = made
    assert won.hit == rows[0]["first_hit"][0]
    assert lost.hit is None
    assert len(won.frames) == won.result.steps + 1 == len(won.energy)
    errors = won.measured[0].errors
    assert errors[-1] < won.measured[0].limit < errors[0]
    # The exact model stands still: its energy is the squared true distance, at every frame.
    np.testing.assert_allclose(won.energy, errors**2, rtol=1e-3, atol=1e-6)
    for plan in won.plans:
        assert plan.candidates.shape == (FAN, 2 * BLOCK + 1, 2)
        assert (np.diff(plan.costs) >= 0).all()
    assert isinstance(PointModel(), Imagination)
    assert won.plans[0].imagined.shape == (2, 16, 16, 3)
    assert not lost.plans
    assert lost.energy is None


def test_start_goal_and_end_are_drawn_large_where_a_scene_can(made):
    _, won, lost = made
    assert won.start.shape == won.end.shape == won.goal.shape == (32, 32, 3)
    np.testing.assert_array_equal(won.start[::2, ::2], won.frames[0])
    np.testing.assert_array_equal(won.end[::2, ::2], won.frames[-1])
    np.testing.assert_array_equal(lost.end, lost.frames[-1])


def test_candidates_are_paths_in_the_picture(made):
    won, size = made[1], 16
    for path, step in ((won.trails["point"], 0), (won.plans[0].chosen["point"], 0)):
        row, column = np.argwhere((won.frames[step] == (200, 30, 30)).all(-1))[0]
        np.testing.assert_allclose(path[0] * size, [column + 0.5, row + 0.5], atol=0.51)
    starts = won.plans[-1].candidates[:, 0]
    np.testing.assert_allclose(starts, np.tile(won.trails["point"][won.plans[-1].step], (FAN, 1)))


def test_a_scene_that_cannot_say_what_it_measures_shows_its_pose(made):
    lost = made[2]
    assert [(m.name, m.unit) for m in lost.measured] == [("x", "m"), ("y", "m")]
    assert lost.measured[0].errors[-1] == pytest.approx(lost.result.final_error["x [m]"])
    assert [line.met for line in card(lost, 1).errors] == [None, None]


def test_the_agent_would_know_what_the_tape_says(made_pairs):
    """Energies are of the very histories that the agent plans from."""
    config = EvaluateConfig("strict/point", "cem", 0, inputs="pixels+proprio")
    model = PointModel()
    model.spec = replace(PointModel.spec, context=2)
    told = []
    model.encode = lambda history: (told.append(history), PointModel.encode(model, history))[1]
    agent = MPCAgent(model, CEM(candidates=8, iterations=1, elites=2), horizon=2)
    shown = record_episode(config, made_pairs, 0, PointEnv(), agent)
    again = {len(told) - len(shown.frames) + record.step: record for record in agent.records}
    assert len(again) > 1
    for index, record in again.items():
        for name in ("frames", "proprio", "actions"):
            np.testing.assert_array_equal(
                getattr(told[index], name), getattr(record.history, name), err_msg=name
            )


def test_landscape_moves_the_first_block_only_and_finds_the_minimum(made):
    low, high = np.full(2, -1.0), np.full(2, 1.0)
    plan = np.random.default_rng(0).uniform(-0.1, 0.1, (3, 2 * BLOCK)).astype(np.float32)
    grid = grid_actions(plan, 2, low, high).reshape(GRID, GRID, 3, BLOCK, 2)
    means = grid[:, :, 0].mean(2)
    np.testing.assert_allclose(means[3, 7], [-1 + 3 / 7, 0.0], atol=1e-6)
    np.testing.assert_array_equal(grid[5, 9, 1:].reshape(2, -1), plan[1:])
    assert np.abs(grid).max() <= 1
    view, pair = made[1].plans[0], made[1].pair
    moved = np.array(pair.goal_pose) - np.array(pair.start_pose)
    path = 4 * (view.chosen["point"] - view.chosen["point"][0]) / SPEED
    rest = path[-1] - path[BLOCK]  # what the second block adds
    wanted = np.clip((moved / SPEED - rest) / BLOCK, -1, 1)
    best = np.unravel_index(view.landscape.argmin(), view.landscape.shape)
    # Clipping flattens the block's shape near a bound; inside, one cell is 1/7.
    inside = np.abs(wanted) < 0.5
    got = np.linspace(-1, 1, GRID)[list(best)]
    np.testing.assert_allclose(got[inside], wanted[inside], atol=0.3)


def test_the_real_agent_plans_in_the_exact_model_and_is_recorded(made_pairs):
    config = EvaluateConfig("strict/point", "cem", 0, inputs="pixels+proprio")
    agent = MPCAgent(PointModel(), CEM(candidates=64, iterations=4, elites=8), horizon=2)
    shown = record_episode(config, made_pairs, 0, SeenPointEnv(), agent)
    assert [plan.step for plan in shown.plans] == [0, 5, 10][: len(shown.plans)]
    errors = shown.measured[0].errors
    assert errors[-1] < 0.5 * errors[0]  # it really steers by its model
    assert len(shown.result.plan_s) == len(shown.plans)
    assert "Plan of step 0" in render_report([], [shown], "t")


class Page(HTMLParser):
    """Collects what a reader without network meets."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.images, self.tags, self.films, self.cells = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.sources += [values[k] for k in ("src", "href", "xlink:href") if k in values]
        if tag == "img":
            self.images.append(values)
        if "data-count" in values:
            self.films.append(values)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "td" and data.strip():
            self.cells.append(data.strip())


def test_page_is_whole_offline_accessible_and_shows_failures_first(made, tmp_path):
    rows, won, lost = made
    path = tmp_path / "report.html"
    write_report(path, rows, [won, lost], "Points & <script>alert(1)</script>")
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", text)
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert page.tags.count("script") == 1  # the player alone
    assert "<script>alert" not in text
    assert "i" not in page.tags  # names are text, not markup, in tables and in charts
    assert "steer &lt;b&gt;" in text
    assert "gap &amp; &lt;i&gt;" in text
    assert '<meta name="viewport"' in text
    assert all(image["alt"] for image in page.images)
    for image in (won.goal, won.end, lost.goal):
        assert picture(image).uri in text
    assert text.index(lost.pair.pair_id) < text.index(won.pair.pair_id)
    assert text.index("Failures (1)") < text.index("Successes (4, 1 of them shown)")
    assert "scoring only" in text
    assert rows[0]["pair_list_sha256"] in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) <= set(ids)


def test_the_film_has_as_many_frames_as_the_episode(made):
    _, won, lost = made
    page = Page(render_report([], [won, lost], "t"))
    counts = [(int(f["data-count"]), float(f["data-dt"])) for f in page.films]
    assert counts == [(len(lost.frames), 0.1), (len(won.frames), 0.1)]
    shot = film(lost.frames)
    assert shot.aspect == 1
    cells = shot.sheet.width // 16 * (shot.sheet.height // 16)
    assert len(lost.frames) <= cells < len(lost.frames) + shot.columns
    wide = film([np.full((4, 12, 3), i, np.uint8) for i in range(5)])
    assert (wide.aspect, wide.columns, wide.sheet.width, wide.sheet.height) == (3, 3, 36, 8)


def test_errors_stand_beside_their_limits_in_millimetres_and_degrees(made):
    _, won, _ = made
    (first, second), errors = card(won, 1).errors, won.measured[0].errors
    assert (first.limit, second.limit) == ("< 50.0 mm", "< 28.6°")
    assert (first.start, first.end) == (f"{errors[0] * 1e3:.1f} mm", f"{errors[-1] * 1e3:.1f} mm")
    assert first.met
    cells = Page(render_report([], [won], "t")).cells
    assert {first.start, f"{first.end} ✓", "< 50.0 mm"} <= set(cells)
    assert (units.text(0.0203, "m"), units.text(np.pi / 9, "rad")) == ("20.3 mm", "20.0°")
    assert units.text(1 / 3, "m/s") == "0.333 m/s"


def test_energy_and_errors_share_one_time_axis_that_holds_the_reached_line(made):
    _, won, lost = made
    figure = charts.timeline(won)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "model's cost",
        "error [mm]",
        "error [°]",
    ]
    for axes in figure.axes:
        (reached,) = (li for li in axes.lines if li.get_label().startswith("reached"))
        low, high = axes.get_xlim()
        assert low < reached.get_xdata()[0] == won.hit * won.dt <= high
        curve = next(li for li in axes.lines if len(li.get_xdata()) == len(won.frames))
        assert curve.get_xdata()[-1] == pytest.approx(won.result.steps * won.dt)
        assert (axes.get_ylim()[0] <= curve.get_ydata()).all()
        assert (axes.get_ylim()[1] >= curve.get_ydata()).all()
    millimetres = figure.axes[1].lines
    np.testing.assert_allclose(millimetres[0].get_ydata(), 1000 * won.measured[0].errors)
    assert 50.0 in [li.get_ydata()[0] for li in millimetres]  # the limit
    assert "time [s]" in figure.axes[-1].get_xlabel()
    figure.draw_without_rendering()
    for axes in figure.axes:  # nothing is cut off
        for part in (axes.get_legend(), axes.yaxis.label, axes.xaxis.label):
            inside = figure.bbox.get_points() - part.get_window_extent().get_points()
            assert (inside[0] <= 0).all(), part
            assert (inside[1] >= 0).all(), part
    assert len(charts.timeline(lost).axes) == 1  # no model, no energy
    assert "reached" not in charts.svg(charts.timeline(lost), "x")


def test_the_same_episode_gives_the_same_page(made):
    rows, won, lost = made
    pages = [render_report(rows, [won, lost], "t") for _ in range(2)]
    assert pages[0] == pages[1]


def test_table_cells_are_the_rows_numbers(made):
    rows = [{**made[0][0], "success_pct": 61.04, "wilson_low": 57.06, "train_seed": 1}]
    text = render_report(rows, [], "t")
    assert '<td data-title="success %" class="n">61.0</td>' in text
    assert f"57.1–{rows[0]['wilson_high']:.1f}</td>" in text
    assert ">1, 0</td>" in text  # seeds 1 and 0 are numbers, not yes and no
    assert "None shown" in text


def test_the_index_lists_failures_first_and_links_to_every_page(made, tmp_path):
    rows, won, lost = made
    for run, missed, episode in (("a", 0, won), ("b", 3, lost), ("c", 1, won)):
        row = {**rows[0], "episodes": 4, "successes": 4 - missed}
        folder = tmp_path / "runs" / f"evaluate-{run}"
        folder.mkdir(parents=True)
        write_report(folder / "report-point.html", [row], [episode], f"{run} <b>")
    (tmp_path / "runs/evaluate-c/report-old.html").write_text("of an earlier release")
    text = write_index(tmp_path).read_text()
    page = Page(text)
    links = [source for source in page.sources if not source.startswith("data:image/")]
    own = [f"runs/evaluate-{run}/report-point.html" for run in "bca"]
    assert links == [*own, "runs/evaluate-c/report-old.html"]  # which tells nothing of itself
    assert all((tmp_path / link).is_file() for link in links)
    assert "1 of 4 reached, 3 missed" in text
    assert "b &lt;b&gt;" in text
    assert picture(lost.end).uri in text
    assert not re.search(r"https?://", text)
    entry = tmp_path / "runs/evaluate-b/report-point.json"
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "of_later": 1}))
    links = [s for s in Page(write_index(tmp_path).read_text()).sources if s[:5] == "runs/"]
    assert links == [own[1], own[2], own[0], "runs/evaluate-c/report-old.html"]


def test_the_index_of_an_empty_folder_says_what_to_do(tmp_path):
    assert "robot-wm report" in write_index(tmp_path).read_text()


def test_plans_in_detail_are_spread_over_the_episode():
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(2, 4) == [0, 1]
    assert evenly(1, 4) == [0]
    assert evenly(0, 4) == []


def test_colors_go_from_dark_to_yellow():
    assert charts.colors(np.array([3.0, 2.0, 2.5])) == ["#fde725", "#440154", "#21918c"]
    assert charts.colors(np.array([2.0, 2.0])) == ["#440154"] * 2


def test_planning_can_be_imported_without_what_draws_pages():
    """A robot has neither matplotlib nor jinja2 nor pillow."""
    code = """
import sys, pkgutil, importlib
for name in ("matplotlib", "jinja2", "markupsafe", "PIL"):
    sys.modules[name] = None
import planning
for module in pkgutil.walk_packages(planning.__path__, "planning."):
    if "commands" not in module.name:
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
