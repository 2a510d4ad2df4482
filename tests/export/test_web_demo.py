"""The page: what Python hands to it and, with npm's packages and Chromium, what it does with it."""

import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.commands import web_demo
from export.commands.web_demo import GRAPHS, MODULES, SOURCE, VENDOR, assemble, packed, write
from export.runtime.agent import SHIPPED
from export.runtime.world_model import OnnxWorldModel
from robot_wm.cli.paths import PACKAGE
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.provenance import read_manifest
from sim.env import GoalEnv
from sim.web_scene import NUDGE, NoTwin, command_matrix, demonstrations, describe, mjcf, spread

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
BLOCKS = 8
PLANAR = ("push_t", "reacher", "two_room")  # whose commands are linear


@pytest.mark.parametrize("task", PLANAR)
def test_commands_of_an_action_are_one_product(task, blind):
    env, rng = blind(task), np.random.default_rng(0)
    matrix = command_matrix(env.task, env.model)
    told = env.model.nq + env.model.nv + env.task.control_dim
    assert matrix.shape == (env.task.ctrl_rows, env.model.nu, told)
    qpos, qvel = rng.normal(size=(5, env.model.nq)), rng.normal(size=(5, env.model.nv))
    action = rng.uniform(-1, 1, (5, env.task.control_dim))
    ours = np.einsum("ruk,nk->nru", matrix, np.concatenate([qpos, qvel, action], 1))
    # Sums of about ten products of numbers near 1.
    np.testing.assert_allclose(ours, env.task.controls(qpos, qvel, action[:, None]), atol=1e-13)


def test_a_task_that_is_no_product_is_refused(blind):
    env = blind("two_room")

    class Squared(type(env.task)):
        def controls(self, qpos, qvel, actions, gain=1.0):
            return super().controls(qpos, qvel, actions**2, gain)

    with pytest.raises(NoTwin, match="not linear"):
        command_matrix(Squared(), env.model)


@pytest.mark.parametrize("task", ["jaco_reach", "cube"])
def test_an_arm_is_more_than_a_file_and_its_page_shows_the_recorded_run(
    task, blind, fake, tmp_path, monkeypatch, capsys
):
    env = blind(task)
    with pytest.raises(NoTwin, match=f"the scene of {task} is more than"):
        mjcf(env)
    with pytest.raises(NoTwin, match="not linear"):
        command_matrix(env.task, env.model)
    spec = SimpleNamespace(task=task, image_size=16)
    monkeypatch.setattr(
        "export.runtime.world_model.OnnxWorldModel", lambda *_, **__: SimpleNamespace(spec=spec)
    )
    monkeypatch.setattr("sim.web_scene.demonstrations", lambda *_: [None])
    monkeypatch.setattr(web_demo, "record", lambda *_: ({"frames": [1]}, []))
    monkeypatch.setattr(web_demo, "search_of", lambda _: {})
    monkeypatch.setattr(web_demo, "compared", lambda *_: {"golden": {}})
    bundle, modules = fake
    out = write(bundle, tmp_path / "site", modules=modules)
    assert json.loads((out / "scene.json").read_text())["obstacle"].startswith("the scene of")
    assert json.loads((out / "run.json").read_text()) == {"frames": [1]}
    assert json.loads((out / "check.json").read_text()) == {"golden": {}, "chance": []}
    assert "recorded run" in capsys.readouterr().err


@pytest.mark.parametrize("task", PLANAR)
def test_the_file_is_the_scene_that_python_simulates(task, blind):
    import mujoco

    ours, theirs = mujoco.MjModel.from_xml_string(mjcf(blind(task))), blind(task).model
    names = [n for n in dir(ours) if isinstance(getattr(ours, n, None), np.ndarray)]
    assert {"geom_size", "body_mass", "actuator_gainprm", "cam_pos"} <= set(names)
    for name in names:
        # The nominal door is computed, not read: the last digit may differ.
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=1e-14, err_msg=name
        )
    for name in ("timestep", "integrator", "cone", "disableflags"):
        assert getattr(ours.opt, name) == getattr(theirs.opt, name)


def test_demonstrations_move_and_can_be_repeated(blind):
    env = blind("two_room")
    shown = demonstrations(env, 2)
    told = describe(env, shown)
    for made, (start, goal) in zip(shown, told["pairs"], strict=True):
        assert start == [*made.states[0, :2], 0.0, 0.0]
        assert np.linalg.norm(np.subtract(goal, start)) > 0.5
        own = spread(env, made)
        assert (np.diff(own) >= 0).all()
        # Nothing is touched on the way through the door: a nudge stays a nudge.
        assert NUDGE <= own[0] <= own[-1] < 10 * NUDGE
    assert [d.seed for d in demonstrations(env, 2)] == [d.seed for d in shown]


def test_the_recorded_run_is_the_pages_search_also_if_the_runtime_acts_alone():
    """The page has the planner graph, which searches whatever the bundle's controller does."""
    env, model = GoalEnv("two_room", 64), OnnxWorldModel(SHIPPED / "two_room", threads=1)
    (pair,) = demonstrations(env, 1)
    model.contract = replace(model.contract, alone=True)
    run, chance = web_demo.record(env, model, pair)
    assert chance[0]["noise"].shape[1] == model.contract.options["candidates"]
    assert (run["costs"] > 0).all()


def test_arrays_survive_json():
    given = np.arange(6, dtype=np.float64).reshape(2, 3) / 7
    told = json.loads(json.dumps({"a": given}, default=packed))["a"]
    import base64

    back = np.frombuffer(base64.b64decode(told["data"]), "<f8").reshape(told["shape"])
    np.testing.assert_array_equal(back, given)
    assert packed(np.float32(2.5))["shape"] == ()


@pytest.fixture
def fake(tmp_path):
    """A bundle and npm's folder with the right names and wrong contents."""
    bundle, modules = tmp_path / "bundle", tmp_path / "node_modules"
    for path in (
        *(bundle / n for n in (*GRAPHS, "golden.npz")),
        *(modules / n for n in VENDOR),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return bundle, modules


def test_a_site_is_complete_and_alone(fake, tmp_path):
    out = assemble(tmp_path / "site", *fake, "<mujoco/>", {"scene.json": {"a": np.ones(2)}})
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    code = {p.name for p in SOURCE.glob("*.js")} | {"index.html"}
    assert names == code | {
        *GRAPHS, "scene.xml", "scene.json", "manifest.json",
        *(f"vendor/{Path(n).name}" for n in VENDOR),
    }  # fmt: skip
    assert set(read_manifest(out, "page")["files"]) == names - {"manifest.json"}
    assert (out / "vendor" / "mujoco.wasm").read_text() == "mujoco.wasm"
    # Every module and file that the page names is there.
    for path in (out / name for name in code):
        for target in re.findall(r'(?:from|src=)\s?"(?:\./)?([\w./-]+)"', path.read_text()):
            assert (out / target).is_file(), (path.name, target)


def test_a_missing_runtime_is_named_and_nothing_is_written(fake, tmp_path):
    bundle, modules = fake
    (modules / VENDOR[2]).unlink()
    with pytest.raises(ConfigError, match="npm ci"):
        assemble(tmp_path / "site", bundle, modules, "", {})
    assert not (tmp_path / "site").exists()


def test_the_page_names_no_other_host_and_pins_its_packages():
    for path in (*SOURCE.glob("*.js"), *SOURCE.glob("*.html"), *SOURCE.glob("package*.json")):
        assert not re.search(r"https?://", path.read_text()), path.name
    wanted = json.loads((SOURCE / "package.json").read_text())
    locked = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert locked[f"node_modules/{name}"]["integrity"].startswith("sha512-")


# In a real browser.

needs_browser = [
    pytest.mark.network,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all((MODULES / n).is_file() for n in (*VENDOR, "playwright-core/index.mjs")),
        reason="npm's packages are missing: npm ci --prefix export/browser",
    ),
    pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine"),
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine"),
]


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def drive(folder, blocks):
    """What the browser saw, and the host it was served from."""
    with served(folder) as host:
        run = subprocess.run(
            ["node", str(SOURCE / "drive.mjs"), f"http://{host}/", CHROMIUM, str(blocks)],
            capture_output=True, text=True, timeout=400,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr + run.stdout
    return json.loads(run.stdout), host


@pytest.fixture(scope="module", params=PLANAR)
def site(request, tmp_path_factory):
    """The page of a task's shipped weights with a small search."""
    from export.build.bundle import ExportConfig, export
    from robot_wm.world_models.jepa.model import JEPAWorldModel

    weights, env = PACKAGE / "weights", GoalEnv(request.param)
    model = JEPAWorldModel.load(weights / request.param, weights / "encoders" / "64x64")
    frames = np.concatenate([d.images for d in demonstrations(env, 16)])
    env.close()
    options = {"candidates": 64, "iterations": 2, "elites": 8, "beta": 3.0, "decay": 1.0}
    config = ExportConfig("icem", options, 1.5, 32, plans=0)
    folder = tmp_path_factory.mktemp(request.param)
    export(model, config, frames, folder / "bundle")
    return write(folder / "bundle", folder / "site")


@pytest.fixture(scope="module")
def seen(site):
    return drive(site, BLOCKS)


def browser(test):
    return functools.reduce(lambda wrapped, mark: mark(wrapped), needs_browser, test)


@browser
def test_the_planner_repeats_python(seen):
    check = seen[0]["check"]
    assert set(check["golden"]) == {"plan", "cost", "step_costs", "latent"}
    for name, row in check["golden"].items():
        assert row["size"] > 0.01, name
        assert row["gap"] <= 1e-3 * max(1.0, row["size"]), (name, row)
    assert check["noise"] < 1e-6  # float32 of numbers near 1
    ours, python = check["chance"]["ours"], check["chance"]["python"]
    for kind in ("search", "proposals"):
        # 4,000 series, each nearly one number; 24 plans of 5 blocks of 2: four standard errors.
        np.testing.assert_allclose(ours[kind], python[kind], atol=0.4 if kind[0] == "p" else 0.1)
    assert 0.2 < ours["choice"] < 0.8
    # History, warm start and search on the recorded frames, with the same chance.
    assert len(check["agent"]) == 3
    for row in check["agent"]:
        assert row["plan"] < 1e-3
        assert row["warm"] < 1e-3
        assert row["cost"] < 1e-4


@browser
def test_physics_and_pictures_repeat_python(seen):
    check = seen[0]["check"]
    assert len(check["physics"]) == 6
    for row in check["physics"]:
        assert row["steps"] == 25
        # Exact until something is touched; then as far as Python from its own nudged runs, up to
        # how many of those were tried and to the step at which two surfaces meet.
        assert row["ratio"] < 20, row
    assert len(check["images"]) == 12
    for row in check["images"]:
        # On average far below a grey level, nowhere more than one of the four samples of a pixel.
        assert row["mean"] < 0.05, row
        assert row["largest"] <= 64, row
        assert abs(row["novelty"] - row["noveltyInPython"]) < 0.25
        assert row["novelty"] < check["noveltyAllowed"]


@browser
def test_an_episode_runs_live(seen):
    result, host = seen
    live = result["live"]
    assert live["notice"] == live["noticeAfter"] == ""
    assert result["errorsWithScene"] == []
    assert result["hosts"] == [host]
    plans = live["plans"]
    assert len(plans) >= BLOCKS == live["curve"] - (len(plans) - BLOCKS)
    assert live["moved"] > 20
    assert all(np.isfinite(row["cost"]) and row["ms"] > 0 for row in plans)
    assert min(row["cost"] for row in plans) < plans[0]["cost"]
    unit = r"\d+ (?:mm|°)" if "mm" in live["distanceBefore"] else r"\d+°"
    assert all(re.search(unit, row["distance"]) for row in plans)
    assert len({row["distance"] for row in plans}) > 3


@browser
def test_sliders_set_the_search_and_a_dragged_body_the_goal(seen):
    live = seen[0]["live"]
    sizes = [(row["candidates"], row["iterations"]) for row in live["sizes"]]
    assert sizes == [(32, 2), (160, 3), (256, 5)]
    # 20 times as many candidates in all.
    assert live["sizes"][2]["ms"] > 2 * live["sizes"][0]["ms"]
    assert live["dragged"] > 20


@browser
def test_without_mujoco_a_recorded_run_is_planned_on(seen):
    recorded = seen[0]["recorded"]
    assert not recorded["hidden"]
    assert "MuJoCo" in recorded["notice"]
    assert "recorded run" in recorded["notice"]
    assert [row["distance"] for row in recorded["plans"][:3]] == [
        f"recorded block {i} of 10" for i in (1, 2, 3)
    ]
    assert all(np.isfinite(row["cost"]) and row["ms"] > 0 for row in recorded["plans"])
    assert recorded["moved"] > 20


@browser
def test_the_check_notices_another_scene(site, tmp_path):
    """A block that is a little softer, an arm or a disc that steps a little shorter."""
    other = shutil.copytree(site, tmp_path / "other")
    text = (other / "scene.xml").read_text()
    changed = text.replace('solref="0.004 1"', 'solref="0.01 1"')
    if "push_t" not in text:
        changed = re.sub(r'timestep="([\d.]+)"', r'timestep="\g<1>1"', text)
    assert changed != text
    (other / "scene.xml").write_text(changed)
    check = drive(other, 0)[0]["check"]
    assert max(row["ratio"] for row in check["physics"]) > 100
