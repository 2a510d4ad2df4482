"""The bundle against its source, and what the runtime refuses."""

import contextlib
import copy
import itertools
import json
import shutil
import socket
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from moving_square import SIZE, draw, tiny_encoder
from tiny_jepa import SIZES, SPEC

from export.build.bundle import ExportConfig, contract_of, export, golden
from export.build.external_weights import NAME as WEIGHTS
from export.build.external_weights import SharedWeights
from export.build.graphs import Graph
from export.build.onnx_files import write_onnx
from export.runtime.agent import SHIPPED, agent_of, objective_of
from export.runtime.bundle_spec import CONTRACT, GOLDEN, METADATA_KEY, parse, read_contract
from export.runtime.latency import measure_apart
from export.runtime.planner import OnnxPlanner
from export.runtime.world_model import OnnxWorldModel
from planning.agent.mpc import MPCAgent
from planning.agent.symmetrized_model import symmetrized
from planning.optimizers import BestOfN, PolicyOnly, make
from planning.optimizers.array_api import array_namespace
from robot_wm.core.errors import ConfigError, DataError, InputError, WeightsError
from robot_wm.core.protocols import History, Proposer, WorldModel
from robot_wm.core.storage.provenance import read_manifest, write_json, write_manifest
from robot_wm.core.symmetry import Mirror
from robot_wm.data.formats.native import EpisodeStore
from robot_wm.encoders.contrast import contrast
from robot_wm.training.checkpoint import full_precision, half_precision
from robot_wm.world_models.jepa.model import JEPAWorldModel, Network

OPTIONS = {"candidates": 24, "iterations": 3, "elites": 6, "beta": 2.0, "decay": 1.0}
LINEAR = {**OPTIONS, "weighting": "linear"}  # as shipped
CONFIG = ExportConfig(optimizer="icem", options=OPTIONS, proposals=8, plans=0)


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Tracing a graph takes seconds; the same one is traced once for all tests here."""
    trace, translate = torch.export.export, torch.onnx.export
    traced, programs = {}, {}

    def export_once(module, example, **options):
        sizes = [tuple(x.shape) for x in example]
        parts = [getattr(module, name, None) for name in ("optimizer", "objective", "kind")]
        key = repr((type(module).__name__, sizes, parts))
        if key not in traced:
            traced[key] = trace(module, example, **options)
        return traced[key]

    def translate_once(program, **options):
        if id(program) not in programs:
            programs[id(program)] = translate(program, **options).model_proto
        return SimpleNamespace(model_proto=copy.deepcopy(programs[id(program)]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "export", export_once)
        patch.setattr(torch.onnx, "export", translate_once)
        yield


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = Network(SIZES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(network.reduce.basis)
    network.load_state_dict(full_precision(half_precision(network)))  # as shipped
    return JEPAWorldModel(network.requires_grad_(False), tiny_encoder(), SPEC)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return np.stack([draw(rng.uniform(6, SIZE - 6, 2)) for _ in range(16)])


@pytest.fixture(scope="module")
def bundle(model, frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "bundle"
    export(model, CONFIG, frames, folder)
    return folder


def history(frames, seed=0):
    action = np.random.default_rng(seed).uniform(-1, 1, (1, 10)).astype(np.float32)
    return History(frames[:2], np.zeros((2, 0), np.float32), action)


def test_costs_and_proposals_are_those_of_the_source(bundle, model, frames):
    twin = OnnxWorldModel(bundle)
    assert isinstance(twin, WorldModel)
    assert isinstance(twin, Proposer)
    assert twin.spec.action_low == SPEC.action_low
    for past in (history(frames), History.of_goal(frames[2], action_dim=10)):
        states = [m.encode(past) for m in (model, twin)]
        goals = [m.encode(History.of_goal(frames[5], action_dim=10)) for m in (model, twin)]
        for count, horizon in ((1, 3), (2, 3), (97, 3), (1, 1), (5, 2)):
            rng = np.random.default_rng(count)
            actions = rng.uniform(-1, 1, (count, horizon, 10)).astype(np.float32)
            costs = [
                m.step_costs(s, g, actions)
                for m, s, g in zip((model, twin), states, goals, strict=True)
            ]
            np.testing.assert_allclose(costs[1], costs[0], rtol=1e-4)
        for count in (1, 3, 4, 9):
            plans = [
                m.propose(s, g, count, np.random.default_rng(3))
                for m, s, g in zip((model, twin), states, goals, strict=True)
            ]
            np.testing.assert_allclose(plans[1], plans[0], atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_jobs_of_any_number_are_costed_together_as_alone(bundle, frames, threads):
    twin, rng = OnnxWorldModel(bundle, threads=threads), np.random.default_rng(0)
    states = [twin.encode(History.of_goal(frame)) for frame in frames[:4]]
    low, high = (np.asarray(bound) for bound in (twin.spec.action_low, twin.spec.action_high))
    sizes = ((1, 2), (40, 3), (17, 1))
    plans = [rng.uniform(low, high, (n, h, len(low))).astype(np.float32) for n, h in sizes]
    jobs = list(zip(states[:3], states[1:], plans, strict=True))
    together = twin.all_step_costs(jobs)
    assert [costs.shape for costs in together] == list(sizes)
    for job, costs in zip(jobs, together, strict=True):
        np.testing.assert_allclose(costs, twin.step_costs(*job), rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_histories_are_encoded_together_as_alone(bundle, frames, threads, monkeypatch):
    together, alone = (OnnxWorldModel(bundle, threads=threads) for _ in range(2))
    if threads == 1:  # what was asked for
        monkeypatch.setattr(together._pool, "submit", None)
    action = np.full((1, len(together.spec.action_low)), 0.5, np.float32)
    seen = [History(frames[i : i + 2], np.zeros((2, 0), np.float32), action) for i in (0, 1, 4)]
    for found, history in zip(together.all_encode(seen), seen, strict=True):
        wanted = alone.encode(history)
        np.testing.assert_array_equal(found.z, wanted.z)
        np.testing.assert_array_equal(found.action, wanted.action)
    with pytest.raises(InputError):
        together.all_encode([seen[0], replace(seen[1], frames=frames[:2, :4])])


def test_images_unlike_the_held_out_ones_are_told(bundle, model, frames):
    twin = OnnxWorldModel(bundle)
    with torch.inference_mode():
        wanted = model.network.novelty(model.encoder.encode_frames(frames)).numpy()
    found = np.array([twin.novelty(frame) for frame in frames])
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert twin.contract.novelty == pytest.approx(1.2 * wanted.max(), rel=1e-5)
    assert not any(twin.is_novel(frame) for frame in frames)
    twin.contract = replace(twin.contract, novelty=float(np.median(wanted)))
    assert [twin.is_novel(frame) for frame in frames] == (found > np.median(wanted)).tolist()
    # Not a number is not known either.
    twin._seen[frames[0].tobytes()] = (np.zeros(8, np.float32), float("nan"))
    assert twin.is_novel(frames[0])


def test_novelty_is_one_on_the_frames_it_was_fitted_on():
    rng = np.random.default_rng(0)
    background = rng.normal(size=(16, 32))  # every position has its own
    tokens = (background + 0.3 * rng.normal(size=(400, 16, 32))).astype(np.float32)
    network = Network(SIZES)
    network.reduce.fit(tokens)
    novelty = network.novelty(torch.from_numpy(tokens))
    assert float(novelty.mean()) == pytest.approx(1, abs=0.02)
    assert (network.novelty(torch.from_numpy(tokens[:, ::-1].copy())) > novelty.max()).all()


def test_shipped_weights_keep_their_half_precision(bundle, model):
    onnx = pytest.importorskip("onnx")
    stored = onnx.load(bundle / "step_costs.onnx").graph.initializer
    halves = [t for t in stored if t.data_type == onnx.TensorProto.FLOAT16]
    matrices = [p for p in model.network.predictor.parameters() if p.ndim > 1]
    # The tracer may transpose a matrix, never split it.
    found, wanted = (
        {tuple(sorted(x)) for x in shapes}
        for shapes in ((t.dims for t in halves), (m.shape for m in matrices))
    )
    assert wanted <= found


def test_eight_bits_are_for_the_rollout_alone(model, frames, tmp_path, bundle):
    onnx = pytest.importorskip("onnx")
    export(model, replace(CONFIG, precision="int8"), frames, tmp_path / "b")
    assert read_contract(tmp_path / "b")[0].precision == "int8"
    kinds = {
        path.stem: {t.data_type for t in onnx.load(path).graph.initializer}
        for path in (tmp_path / "b").glob("*.onnx")
    }
    eight = onnx.TensorProto.INT8
    assert {name for name, found in kinds.items() if eight in found} == {"step_costs"}
    assert METADATA_KEY in OnnxWorldModel(tmp_path / "b")._sessions["step_costs"].get_modelmeta(
    ).custom_metadata_map  # fmt: skip
    past, goal = history(frames), History.of_goal(frames[5], action_dim=10)
    actions = np.random.default_rng(0).uniform(-1, 1, (64, 3, 10)).astype(np.float32)
    full, coarse = (
        twin.step_costs(twin.encode(past), twin.encode(goal), actions)
        for twin in (OnnxWorldModel(bundle), OnnxWorldModel(tmp_path / "b"))
    )
    # Another arithmetic, the same function: 8 bits a matrix entry leave a few per cent.
    assert 0 < np.abs(coarse - full).max() < 0.2 * np.abs(full).max()
    with pytest.raises(ConfigError, match="int4"):
        ExportConfig(precision="int4")
    with pytest.raises(ConfigError, match="agent_of"):
        ExportConfig(optimizer="choice")


@pytest.mark.parametrize(("candidates", "iterations"), [(24, 3), (64, 1), (40, 7)])
def test_the_planner_graph_is_the_optimiser_at_any_size(
    bundle, model, frames, candidates, iterations
):
    planner = OnnxPlanner(bundle)
    planner.optimizer = make(
        "icem", **{**OPTIONS, "candidates": candidates, "iterations": iterations}
    )
    action = np.random.default_rng(1).uniform(-1, 1, 10).astype(np.float32)
    mean = np.random.default_rng(2).uniform(-1, 1, (3, 10)).astype(np.float32)
    got = planner.plan(frames[0], frames[1], frames[5], action, mean, np.random.default_rng(7))

    rng = np.random.default_rng(7)
    state = model.encode(History(frames[:2], np.zeros((2, 0), np.float32), action[None]))
    goal = model.encode(History.of_goal(frames[5], action_dim=10))
    noise = planner.optimizer.draw_noise(rng, 3, 10, block=5)
    proposals = model.propose(state, goal, CONFIG.proposals, rng)
    objective = objective_of(planner.contract)
    low, high = -np.ones(10, np.float32), np.ones(10, np.float32)
    plan = planner.optimizer.optimize(
        lambda a: objective(model.step_costs(state, goal, a), a),
        mean, None, low, high, noise, proposals,
    )  # fmt: skip
    np.testing.assert_allclose(got.actions, plan.actions, atol=1e-4)
    own = model.step_costs(state, goal, got.actions[None])
    np.testing.assert_allclose(got.step_costs, own[0], rtol=1e-4)
    assert got.cost == pytest.approx(float(objective(own, got.actions[None])[0]), rel=1e-4)
    assert np.abs(got.actions).max() <= 1


def drive_alike(twin, model, frames):
    """The bundle's agent acts as the same planner around ``model``."""
    ours = MPCAgent(
        model, make("icem", **OPTIONS), twin.objective, 3, 1, proposals=CONFIG.proposals
    )
    for agent in (twin, ours):
        agent.reset({"image": frames[5]}, seed=4)
    for step in range(10):
        obs = {"image": frames[step // 5]}
        np.testing.assert_allclose(twin.act(obs), ours.act(obs), atol=1e-4)


def test_the_same_agent_drives_both(bundle, model, frames):
    twin = agent_of(OnnxWorldModel(bundle))
    assert twin.objective == objective_of(twin.model.contract)
    drive_alike(twin, model, frames)


def test_a_bundle_of_a_symmetric_scene_plans_in_the_mirror_too(bundle, model, frames):
    mirror, twin = Mirror("transpose", (1, 0), (-1.0, -1.0)), OnnxWorldModel(bundle)
    twin.contract = replace(twin.contract, mirror=mirror)
    assert parse(json.loads(json.dumps(twin.contract.to_json())), "it") == twin.contract
    bent = {**twin.contract.to_json(), "mirror": {"image": "bent", "order": [0], "signs": [1.0]}}
    with pytest.raises(WeightsError, match="bent"):
        parse(bent, "it")
    assert contract_of(model, replace(CONFIG, mirror=mirror)).mirror == mirror
    drive_alike(agent_of(twin), symmetrized(model, mirror), frames)
    drive_alike(agent_of(twin, mirror=False), model, frames)


def test_a_bundle_may_act_by_its_actor_alone_unless_a_search_is_named(bundle, model, frames):
    alone, searching = OnnxWorldModel(bundle), agent_of(OnnxWorldModel(bundle))
    alone.contract = replace(alone.contract, alone=True)
    assert parse(json.loads(json.dumps(alone.contract.to_json())), "it").alone
    assert contract_of(model, replace(CONFIG, alone=True)).alone
    assert not contract_of(model, CONFIG).alone
    assert agent_of(alone).optimizer == PolicyOnly()
    assert agent_of(alone).proposals == 1
    assert agent_of(alone, budget=10.0).optimizer == PolicyOnly()
    with pytest.raises(ConfigError, match="ms or more"):
        agent_of(alone, budget=1e-6)
    name, options = alone.contract.optimizer, alone.contract.options
    assert agent_of(alone, optimizer=name, **options).optimizer == searching.optimizer
    assert agent_of(alone, candidates=24).optimizer.candidates == 24
    assert agent_of(alone, optimizer=name).optimizer == searching.optimizer
    assert agent_of(alone, budget=10.0, optimizer="choice").optimizer == BestOfN()


def test_a_plain_script_reproduces_the_golden_pair(bundle, tmp_path):
    script = """
        import sys
        import numpy as np, onnxruntime as ort
        golden = np.load(sys.argv[1] + "/golden.npz")
        session = ort.InferenceSession(sys.argv[1] + "/planner.onnx")
        inputs = {i.name: golden["in_" + i.name] for i in session.get_inputs()}
        for out, got in zip(session.get_outputs(), session.run(None, inputs)):
            assert np.allclose(got, golden["out_" + out.name], atol=1e-4), out.name
        heavy = {"torch", "mujoco", "hydra", "onnx", "robot_wm", "planning", "export"}
        assert not heavy & set(sys.modules)
        print("reproduced")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(bundle)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "reproduced", done.stderr


def test_the_runtime_imports_nothing_heavy(bundle, frames, tmp_path):
    np.save(tmp_path / "frames.npy", frames)
    script = """
        import sys
        for name in ("torch", "mujoco", "hydra", "onnx", "onnxscript", "array_api_compat"):
            sys.modules[name] = None  # importing it fails, as where it is not installed
        import numpy as np
        from pathlib import Path
        from export.runtime import OnnxWorldModel, agent_of
        frames = np.load(sys.argv[2])
        agent = agent_of(OnnxWorldModel(Path(sys.argv[1])))
        agent.reset({"image": frames[5]}, 0)
        print([agent.act({"image": frames[0]}).shape for _ in range(6)][-1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(bundle), str(tmp_path / "frames.npy")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "(2,)", done.stderr


def test_files_carry_their_manual_and_no_path_of_this_machine(bundle):
    import onnx

    contract, manifest = read_contract(bundle)
    assert manifest["parents"] == contract.spec.hashes
    for name in ("encode", "step_costs", "propose", "planner"):
        path = bundle / f"{name}.onnx"
        told = {p.key: p.value for p in onnx.load(path).metadata_props}
        assert json.loads(told[METADATA_KEY])["spec"]["control_dt"] == SPEC.control_dt
        assert b".py" not in path.read_bytes()
    assert (bundle / GOLDEN).is_file()
    assert "Parity with torch" in (bundle / "card.md").read_text()


def test_every_array_is_stored_once(bundle):
    onnx = pytest.importorskip("onnx")
    places = {}
    for name in ("encode", "step_costs", "propose", "planner"):
        graph = onnx.load(bundle / f"{name}.onnx", load_external_data=False).graph
        told = [{e.key: e.value for e in t.external_data} for t in graph.initializer]
        places[name] = {(int(p["offset"]), int(p["length"])) for p in told if p}
        assert places[name]
        inside = [len(t.raw_data) for t in graph.initializer if not t.external_data]
        assert max(inside, default=0) < 1024
    # The planner holds what the other graphs hold; nothing lies between but padding.
    assert places["encode"] | places["step_costs"] | places["propose"] <= places["planner"]
    end = 0
    for offset, length in sorted(places["planner"]):
        assert 0 <= offset - end < 64
        end = offset + length
    assert end == (bundle / WEIGHTS).stat().st_size


@pytest.mark.parametrize("name", ["planner.onnx", WEIGHTS, CONTRACT, GOLDEN])
@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_an_altered_bundle_is_refused(bundle, tmp_path, name, harm):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).unlink() if harm == "remove" else (copy / name).write_bytes(bytes(data))
    for load in (OnnxWorldModel, OnnxPlanner):
        with pytest.raises(WeightsError, match=name):
            load(copy)


def test_another_version_or_provider_is_refused(bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    contract = json.loads((copy / CONTRACT).read_text())
    write_json(copy / CONTRACT, {**contract, "version": 99})
    write_manifest(copy, "bundle", read_manifest(copy, "bundle", verify=False)["parents"], {})
    with pytest.raises(WeightsError, match="version 99"):
        OnnxWorldModel(copy)
    with pytest.raises(ConfigError, match="CPUExecutionProvider"):
        OnnxPlanner(bundle, provider="CUDAExecutionProvider")


def test_bad_inputs_are_refused(bundle, frames):
    twin, planner = OnnxWorldModel(bundle), OnnxPlanner(bundle)
    state = twin.encode(History.of_goal(frames[0], action_dim=10))
    with pytest.raises(InputError, match=r"4 blocks.*at most 3"):
        twin.step_costs(state, state, np.zeros((4, 4, 10), np.float32))
    with pytest.raises(InputError, match="out of bounds"):
        twin.step_costs(state, state, np.full((4, 3, 10), 2, np.float32))
    with pytest.raises(InputError, match="pixels"):
        twin.encode(History.of_goal(frames[0][:-1, :-1], action_dim=10))
    good = dict(previous=frames[0], image=frames[0], goal=frames[1], action=np.zeros(10),
                mean=np.zeros((3, 10)), rng=np.random.default_rng(0))  # fmt: skip
    with pytest.raises(InputError, match="uint8"):
        planner.plan(**{**good, "image": frames[0] / 255.0})
    with pytest.raises(InputError, match="NaN"):
        planner.plan(**{**good, "mean": np.full((3, 10), np.nan)})


def test_nothing_is_published_beyond_the_tolerance(model, frames, bundle, tmp_path, monkeypatch):
    # Tracing again takes a minute and changes nothing.
    def copy(graph, path, metadata, weights, precision):
        shutil.copy(bundle / path.name, path)
        weights._blob[:] = (bundle / WEIGHTS).read_bytes()

    monkeypatch.setattr("export.build.bundle.write_onnx", copy)
    with pytest.raises(WeightsError, match="differ"):
        export(model, ExportConfig("icem", OPTIONS, proposals=8, tolerance=-1.0), frames,
               tmp_path / "bundle")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_answers_nan_is_not_published(model, frames, tmp_path, monkeypatch):
    def nothing(self, state, goal, actions):
        return np.full(actions.shape[:2], np.nan, np.float32)

    monkeypatch.setattr(OnnxWorldModel, "step_costs", nothing)
    for precision in ("float32", "int8"):
        with pytest.raises(WeightsError, match="differ by nan"):
            export(model, replace(CONFIG, precision=precision), frames, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_plans_that_are_no_numbers_are_refused(bundle, model, frames, tmp_path, monkeypatch):
    folder = shutil.copytree(bundle, tmp_path / "copy")
    planner = OnnxPlanner(folder)
    lost = [np.full(s, np.nan, np.float32) for s in ((3, 10), (), (3,), (1,))]
    monkeypatch.setattr("export.runtime.planner.run_session", lambda *given: lost)
    given = (frames[0], frames[0], frames[1], np.zeros(10), np.zeros((3, 10)))
    with pytest.raises(WeightsError, match="NaN or infinity in a plan"):
        planner.plan(*given, np.random.default_rng(0))

    class Silent(OnnxPlanner):
        def __init__(self, folder):
            super().__init__(folder)
            self._session = SimpleNamespace(run=lambda *given: lost)

    monkeypatch.setattr("export.build.bundle.OnnxPlanner", Silent)
    with pytest.raises(WeightsError, match="planner graph"):
        golden(model, planner.contract, folder, frames)


class Picture(torch.nn.Module):
    def forward(self, images):
        return contrast(images)


class Refit(torch.nn.Module):
    def __init__(self, search):
        super().__init__()
        self.optimizer = search

    def forward(self, candidates, costs):
        mean = candidates.mean(dim=0)
        return self.optimizer.refit(array_namespace(costs), candidates, costs, mean, mean)


@pytest.mark.parametrize("kind", ["contrast", "icem", "mppi"])
def test_numbers_that_keep_from_dividing_by_zero_are_in_the_file(kind, tmp_path):
    # ONNX's optimiser takes a summand of 1e-8 or less for 0.
    if kind == "contrast":
        module, shown = Picture(), {"images": torch.full((2, 16, 16, 3), 90, dtype=torch.uint8)}
        shown["images"][1, 4:9, 4:9] = 200
    else:
        search = make(kind, **(LINEAR if kind == "icem" else {"candidates": 24, "iterations": 1}))
        module, shown = (
            Refit(search),
            {"candidates": torch.rand(1, 3, 10).repeat(24, 1, 1), "costs": torch.zeros(24)},
        )
    wanted = module(*shown.values())
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    outputs = {f"out{i}": list(x.shape) for i, x in enumerate(wanted)}
    inputs = {k: list(v.shape) for k, v in shown.items()}
    graph = Graph("g", module, inputs, outputs, {k: v.dtype for k, v in shown.items()})
    weights = SharedWeights()
    write_onnx(graph, tmp_path / "g.onnx", {}, weights)
    weights.write(tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    got = session.run(None, {k: v.numpy() for k, v in shown.items()})
    for ours, theirs in zip(wanted, got, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_searches_that_cannot_be_exported_are_refused(model, frames, tmp_path):
    shrinking = {**OPTIONS, "decay": 1.25}
    with pytest.raises(ConfigError, match="decay=1"):
        export(model, ExportConfig("icem", shrinking, proposals=8), frames, tmp_path / "b")
    with pytest.raises(ConfigError, match="proposals"):
        export(model, ExportConfig("icem", OPTIONS, proposals=2), frames, tmp_path / "b")


def test_latency_is_measured_in_a_process_without_torch(bundle):
    row = measure_apart(bundle, plans=20, threads=1, candidates=16, iterations=1, reference=2)
    assert (row["candidates"], row["iterations"], row["threads"], row["plans"]) == (16, 1, 1, 20)
    assert 0 < row["encode_ms_p50"] < row["total_ms_p50"] <= row["total_ms_p99"]
    assert row["optimiser"] == "icem"
    assert row["times_faster"] == pytest.approx(row["cem_ms_p50"] / row["total_ms_p50"])
    assert row["times_faster"] > 1  # 9,000 rollouts instead of 16
    # Torch alone takes more than twice that.
    assert 20 < row["rss_mb"] <= row["peak_mb"] + 1 < 150
    assert row["bundle_mb"] * 1e6 == pytest.approx(sum(p.stat().st_size for p in bundle.iterdir()))
    for wrong in ({"plans": 0}, {"reference": -1}):
        with pytest.raises(DataError, match="reference = "):
            measure_apart(bundle, **wrong)


def test_reports_are_part_of_the_bundle_and_its_card(model, frames, tmp_path):
    reports = export(model, replace(CONFIG, plans=3, threads=1), frames, tmp_path / "b")
    latency = json.loads((tmp_path / "b" / "latency.json").read_text())
    assert latency == reports["latency"]
    assert f"{latency['rss_mb']:.0f} MiB" in (tmp_path / "b" / "card.md").read_text()
    OnnxWorldModel(tmp_path / "b")  # its hashes hold


@pytest.mark.parametrize("task", ["push_t", "two_room", "reacher", "cube"])
def test_goals_with_red_and_blue_exchanged_are_refused_and_others_taken(task):
    """Of shipped bundles, by held-out frames: the mistake that every OpenCV camera invites."""
    model = OnnxWorldModel(SHIPPED / task, threads=1)
    with np.load(SHIPPED.parent / "frames" / task / "frames.npz") as stored:
        frames = next(iter(stored.values()))[::20]
    taken = {order: 0 for order in (1, -1)}
    for frame, order in itertools.product(frames, taken):
        with contextlib.suppress(InputError):
            model.check_goal(frame[..., ::order])
            taken[order] += 1
    assert taken[1] == len(frames) >= 10
    assert taken[-1] <= 0.1 * len(frames)


def driven_robot(robot, drive):
    """Both ends of ``examples/`` in two processes: (exit code, said, complained) of each."""
    examples = Path(__file__).parents[2] / "examples"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = ["--port", str(free.getsockname()[1])]
    serve = [sys.executable, str(examples / "robot.py"), "two_room", *robot, *port]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(serve, **told) as scene:
        assert "waiting" in scene.stdout.readline()
        driven = subprocess.run(
            [sys.executable, str(examples / "drive.py"), "two_room", *drive, *port],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        try:
            said = scene.communicate(timeout=60)
        finally:
            scene.kill()
    return (scene.returncode, *said), (driven.returncode, driven.stdout, driven.stderr)


def test_a_robot_with_another_camera_is_refused_before_anything_moves():
    robot, driven = driven_robot(["--size", "48"], [])
    assert (driven[0], driven[1]) == (2, "")
    assert "pictures of 48x48 pixels" in driven[2]
    assert (
        "for two_room pictures of 64x64 pixels, actions of 2 numbers, one every 0.1 s" in driven[2]
    )
    assert robot[0] == 2
    assert "Traceback" not in robot[2] + driven[2]


def test_the_example_drives_a_robot_in_another_process(tmp_path):
    robot, driven = driven_robot(["--steps", "12"], ["--log", str(tmp_path / "log")])
    assert driven[1].startswith("12 control steps, faults: "), driven[2]
    assert robot[1].startswith("12 control steps at 10 Hz, ")
    assert robot[1].strip().endswith("goal MISSED")  # in so few
    assert (robot[0], driven[0]) == (1, 0)
    (logged,) = EpisodeStore(tmp_path / "log", verify=True)
    assert (len(logged), logged.frames.shape[:2]) == (10, (3, 64))
