import mujoco
import numpy as np
import pytest

from robot_wm.core.errors import RendererError
from sim import TASKS, make, rendering
from sim.benchmark import bench_rendering
from sim.rendering import Renderer, choose_backend

PLANAR = ("push_t", "reacher", "two_room")


def scene(task, seed=0):
    model = TASKS[task]().compile({})
    data = mujoco.MjData(model)
    TASKS[task]().sample_initial_state(data, np.random.default_rng(seed))
    mujoco.mj_forward(model, data)
    return model, data


def draw(task, size=64, fast=True):
    model, data = scene(task)
    renderer = Renderer(model, size, fast)
    image = renderer.render(model, data)
    renderer.close()
    renderer.close()  # harmless
    return image


@pytest.mark.parametrize(
    # Without shadows MuJoCo lights the reacher's floor by its corners only: darker, else the same.
    ("task", "mean"),
    [("push_t", 3), ("two_room", 6), ("reacher", 30)],
)
def test_fast_images_differ_only_mildly_from_the_default(task, mean):
    fast, default = draw(task).astype(int), draw(task, fast=False).astype(int)
    assert np.abs(fast - default).mean() < mean  # of 255
    assert np.corrcoef(fast.ravel(), default.ravel())[0, 1] > 0.9
    assert fast.std() > 5  # there is something to see


@pytest.mark.parametrize("size", [16, 48, 224])
def test_images_are_square_uint8_copies(size):
    model, data = scene("two_room")
    renderer = Renderer(model, size)
    first = renderer.render(model, data)
    kept = first.copy()
    assert first.shape == (size, size, 3)
    assert first.dtype == np.uint8
    data.qpos[:] = [0.5, 0.5]
    mujoco.mj_forward(model, data)
    assert not np.array_equal(renderer.render(model, data), first)
    assert np.array_equal(first, kept)  # the second image did not overwrite it
    renderer.close()


def test_supersampling_is_the_rounded_mean_of_four_pixels():
    model, data = scene("push_t")
    renderer = Renderer(model, 32)
    image = renderer.render(model, data)
    pixels = renderer._pixels[::-1].astype(float)
    mean = (pixels[::2, ::2] + pixels[::2, 1::2] + pixels[1::2, ::2] + pixels[1::2, 1::2]) / 4
    assert np.array_equal(image, np.floor(mean + 0.5))
    renderer.close()


def test_top_row_is_up_and_right_is_right():
    model, data = scene("two_room")
    data.qpos[:] = [1.8, 2.0]  # upper right corner
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 64)
    image = renderer.render(model, data).astype(int)
    renderer.close()
    rows, columns = np.nonzero((image[..., 0] > 200) & (image[..., 1] < 60))
    meters = np.array([columns.mean() + 0.5, 64 - rows.mean() - 0.5]) / 64 * 2.24
    assert np.abs(meters - [1.8, 2.0]).max() < 0.02


def test_renderers_of_one_process_do_not_mix_their_pictures():
    alone = {}
    for task in PLANAR:
        env = make(task, 32)
        alone[task] = env.reset(seed=0)[0]["image"]
        env.close()
    envs = {task: make(task, 32) for task in PLANAR}
    for _ in range(2):
        for task, env in envs.items():
            assert np.array_equal(env.reset(seed=0)[0]["image"], alone[task])
    envs["push_t"].close()
    assert np.array_equal(envs["reacher"].render(), alone["reacher"])
    assert np.array_equal(envs["push_t"].render(), alone["push_t"])  # opens a new one
    for env in envs.values():
        env.close()


def test_recoloured_textures_are_uploaded_again():
    env = make("reacher", 32)
    plain = env.reset(seed=0)[0]["image"]
    brown = env.reset(seed=0, options={"factors": {"canvas_color": (0.55, 0.3, 0.1)}})[0]["image"]
    assert brown[..., 0].mean() > 2 * brown[..., 2].mean()
    assert np.array_equal(env.reset(seed=0)[0]["image"], plain)
    env.close()


def test_no_backend_lists_what_was_tried(monkeypatch):
    monkeypatch.setattr(rendering, "_chosen", None)
    monkeypatch.setattr(rendering, "probe", lambda backend: f"no lib{backend}.so")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(RendererError) as caught:
        choose_backend()
    for word in ("egl: no libegl.so", "osmesa: no libosmesa.so", "apt-get install", "MUJOCO_GL"):
        assert word in str(caught.value)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(RendererError) as caught:
        choose_backend()
    assert "egl:" not in str(caught.value)


def test_second_backend_is_taken_when_the_first_fails(monkeypatch):
    monkeypatch.setattr(rendering, "_chosen", None)
    monkeypatch.setattr(rendering, "probe", lambda backend: "broken" * (backend == "egl"))
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "")
    assert choose_backend() == "osmesa"
    monkeypatch.setattr(rendering, "probe", lambda backend: pytest.fail("asked twice"))
    assert choose_backend() == "osmesa"


def test_probe_tells_why_a_backend_does_not_start():
    assert "nonsense" in rendering.probe("nonsense")


def test_bench_is_consistent():
    found = bench_rendering("reacher", frames=4)
    assert found["ratio"] == pytest.approx(found["fast_fps"] / found["default_fps"])
    assert found["fast_fps"] <= 1e3 / found["fast_render_ms"]
    assert found["ratio"] > 3  # shadows are what software OpenGL is slow at
