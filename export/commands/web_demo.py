"""``robot-wm web-demo``: a folder for any web server; planner and scene then run in the browser.

The page is in ``export/browser``. Beside it come the bundle's graphs, the scene's MJCF, the two
WebAssembly runtimes, a recorded run (shown where the scene cannot be simulated, e.g. an arm with
meshes and inverse kinematics) and numbers made here that the page compares its own with
(``?check``).
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.build.stage import bundle
from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.parts.artifacts import make
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.provenance import atomic_folder, storage_root, write_manifest
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from export.runtime.world_model import OnnxWorldModel
    from robot_wm.cli.main import Session
    from sim.env import GoalEnv
    from sim.web_scene import Demonstration

SOURCE = CHECKOUT / "export" / "browser"
MODULES = SOURCE / "node_modules"
PAGES = ("index.html", "*.js")
GRAPHS = ("contract.json", "planner.onnx", "encode.onnx", "weights.bin")
VENDOR = (
    "onnxruntime-web/dist/ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "@mujoco/mujoco/mujoco.js",
    "@mujoco/mujoco/mujoco.wasm",
)
PAIRS = 6  # starts with goals on the page
BLOCKS = 10  # of the recorded run
CHECKED = 3  # plans of the recorded run that the page repeats with the same chance
SEED = 0


def run(session: Session) -> int:
    """Build the page of the task and say how to open it."""
    settings = session.settings
    out = storage_root() / "pages" / f"{settings.task.name}-{settings.weights}"
    find_modules(MODULES)
    write(bundle(session), out, settings.threads)
    print(f"python3 -m http.server --bind 127.0.0.1 --directory {out}")
    print("then open http://127.0.0.1:8000/ in a browser (?check compares it with Python)")
    return 0


def write(folder: Path, out: Path, threads: int = 1, modules: Path = MODULES) -> Path:
    """The page of the bundle in ``folder``.

    A scene that MuJoCo's WebAssembly build cannot run is shown by its recorded run alone.

    Raises:
        ConfigError: the WebAssembly runtimes are not installed, or pictures are not square.
        WeightsError: see :func:`export.runtime.bundle_spec.read_contract`.
    """
    from export.runtime.world_model import OnnxWorldModel

    twin = import_module("sim.web_scene")
    model = OnnxWorldModel(folder, threads=threads)
    env = make("environment")(model.spec.task, model.spec.image_size)
    try:
        twin.check_square(env)
        shown = twin.demonstrations(env, PAIRS)
        recorded, chance = record(env, model, shown[0])
        documents = {
            "search.json": search_of(model),
            "run.json": recorded,
            "check.json": {**compared(model, folder), "chance": chance},
        }
        try:
            scene, documents["scene.json"] = twin.mjcf(env), twin.describe(env, shown)
            documents["check.json"] |= compared_scene(env, model, shown)
        except twin.NoTwin as error:
            say(f"{error.received}: the page shows a recorded run, whose plans are made live")
            scene, documents["scene.json"] = "", {"obstacle": error.received}
        return assemble(out, folder, modules, scene, documents)
    finally:
        env.close()


def find_modules(modules: Path) -> list[Path]:
    """Files of the WebAssembly runtimes.

    Raises:
        ConfigError: one is missing.
    """
    found = [modules / name for name in VENDOR]
    for path in found:
        if not path.is_file():
            raise ConfigError(
                f"{path} is missing", "the packages of export/browser/package.json",
                f"run `npm ci --prefix {modules.parent}`, or `make browser`",
            )  # fmt: skip
    return found


def assemble(
    out: Path, folder: Path, modules: Path, scene: str, documents: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Write the static site ``out``, whole or not at all.

    Args:
        folder: the bundle.
        modules: ``node_modules`` with the WebAssembly runtimes.
        scene: MJCF.
        documents: JSON files by name; arrays become base64 (see :func:`packed`).

    Raises:
        ConfigError: see :func:`find_modules`. StorageError: the disk is full or not writable.
    """
    runtimes = find_modules(modules)
    with atomic_folder(out, replaces="page") as work:
        for path in (p for pattern in PAGES for p in sorted(SOURCE.glob(pattern))):
            shutil.copy(path, work / path.name)
        for name in GRAPHS:
            shutil.copy(folder / name, work / name)
        (work / "vendor").mkdir()
        for path in runtimes:
            shutil.copy(path, work / "vendor" / path.name)
        (work / "scene.xml").write_text(scene, encoding="utf-8")
        for name, value in documents.items():
            text = json.dumps(value, default=packed, allow_nan=False)
            (work / name).write_text(text, encoding="utf-8")
        write_manifest(work, "page", {}, {})
    return out


def packed(value: Any) -> dict[str, Any]:
    """An array as JSON: dtype, shape, and its little-endian bytes in base64."""
    array = np.ascontiguousarray(value)
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    shape = np.shape(value)
    return {"dtype": array.dtype.name, "shape": shape, "data": base64.b64encode(data).decode()}


def record(
    env: GoalEnv, model: OnnxWorldModel, pair: Demonstration
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run of the Python agent from a demonstration's start to its goal.

    Returns:
        The run, by blocks: ``frames [B+1, S, S, 3]``, ``goal [S, S, 3]``, ``blocks [B, A]`` that
        were executed, ``plans [B, H, A]`` and their ``costs [B]``; and the noise of the first plans
        as inputs of the planner graph.
    """
    from export.runtime.agent import agent_of
    from robot_wm.core.protocols import proposal_chance

    spec, contract = model.spec, model.contract
    search = {"optimizer": contract.optimizer, **contract.options}
    agent = agent_of(model, mirror=False, **search)  # as the page plans, also if a robot would not
    agent.record = True
    agent.reset({"image": pair.images[1]}, SEED)
    obs, _ = env.reset(options={"state": pair.start})
    frames, actions = [obs["image"]], []
    for step in range(1, BLOCKS * spec.block + 1):
        actions.append(agent.act(obs))
        obs, *_ = env.step(actions[-1])
        if step % spec.block == 0:
            frames.append(obs["image"])
    plans = np.stack([r.actions for r in agent.records])
    costs = agent.objective(np.stack([r.step_costs for r in agent.records]), plans)
    searching, proposing = np.random.default_rng(SEED).spawn(2)  # as MPCAgent.reset does
    chance = []
    for _ in range(CHECKED):
        noise = agent.optimizer.draw_noise(
            searching, spec.horizon, spec.action_dim, block=spec.block
        )
        choice, proposal_noise = proposal_chance(
            proposing, contract.proposals - contract.heads, spec
        )
        chance.append({"noise": noise, "choice": choice, "proposal_noise": proposal_noise})
    run = {
        "frames": np.stack(frames), "goal": pair.images[1], "plans": plans, "costs": costs,
        "blocks": np.array(actions, np.float32).reshape(BLOCKS, spec.action_dim),
    }  # fmt: skip
    return run, chance


def search_of(model: OnnxWorldModel) -> dict[str, Any]:
    """The bundle's search: its sizes, the fewest candidates, the colour of its noise (0: white)."""
    from export.runtime.agent import optimizer_of

    search = optimizer_of(model.contract)
    elites = getattr(search, "elites", 1)
    return {
        "candidates": search.candidates,
        "iterations": search.iterations,
        # The mean and two drawn proposals beside the actor's own; one candidate that is no elite.
        "fewest": max(model.contract.heads + 3, elites + 1),
        "beta": getattr(search, "beta", 0.0),
    }


def compared(model: OnnxWorldModel, folder: Path) -> dict[str, Any]:
    """What every page must reproduce: the golden pair and noise."""
    from export.runtime.bundle_spec import GOLDEN
    from planning.optimizers.icem import colored_noise

    with np.load(Path(folder) / GOLDEN) as stored:
        golden = dict(stored)
    steps, exponent, shape = model.spec.horizon * model.spec.block, 2.0, (3,)
    parts = np.random.default_rng(SEED).standard_normal((2, *shape, steps // 2 + 1))
    noise = colored_noise(np.random.default_rng(SEED), (*shape, steps), exponent)
    return {
        "golden": golden,
        "noise": {"parts": parts, "exponent": exponent, "series": noise},
        "moments": moments(model),
    }


def compared_scene(
    env: GoalEnv, model: OnnxWorldModel, shown: list[Demonstration]
) -> dict[str, Any]:
    """What a page with a scene must reproduce besides: physics, images with novelty."""
    spread = import_module("sim.web_scene").spread
    return {
        "physics": [
            {"states": d.states, "actions": d.actions, "spread": spread(env, d)} for d in shown
        ],
        "images": [
            {"state": state, "image": image, "novelty": model.novelty(image)}
            for d in shown
            for state, image in zip((d.states[0], d.states[-1]), d.images, strict=True)
        ],
    }


def moments(model: OnnxWorldModel) -> dict[str, list[float]]:
    """Mean square, and mean product of neighbouring control steps, of all noise in a plan."""
    from export.runtime.agent import optimizer_of
    from robot_wm.core.protocols import proposal_chance

    spec, rng = model.spec, np.random.default_rng(SEED)
    search = optimizer_of(model.contract, candidates=1000, iterations=2)
    recorded = {
        "search": search.draw_noise(rng, spec.horizon, spec.action_dim, block=spec.block),
        "proposals": proposal_chance(rng, 1000, spec)[1],
    }
    found = {}
    for name, noise in recorded.items():
        steps = noise.reshape(-1, spec.horizon * spec.block, spec.control_dim)
        found[name] = [float((steps**2).mean()), float((steps[:, 1:] * steps[:, :-1]).mean())]
    return found
