"""Damaged files, impossible values, strange pictures: each is refused by name or read rightly.

    python tests/robustness/fuzzing.py shards --first 0 --count 400

prints one JSON line a case. A case is a pure function of its kind and number. ``wrong`` are those
that ended in an untyped error, were accepted though they say something else than what was stored,
or took more than ``SECONDS`` of processor time or ``MEMORY`` beyond what the process had.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import RobotWMError

SECONDS, MEMORY = 2.0, 2**30
# Every file is flushed to its disk, for which two thousand cases need not wait.
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
ROOT = Path(__file__).parents[2]
NASTY: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 7, 10**9, -(10**9), 2**63, 1e308, -1e308, 0.5, "", "x", "1", "..",
    "/etc/passwd", [], {}, [[]], [None], {"a": 1}, "é☃" * 50,
)  # fmt: skip


class Wrong(Exception):
    """Accepted though it is not what was stored."""


Case = Callable[[np.random.Generator, Path], None]


def holds(truth: Any, words: str) -> None:
    """Refuse what was accepted."""
    if not truth:
        raise Wrong(words)


# Changes to what is stored.


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def changed(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one place deleted, added to, or replaced."""
    value = copy.deepcopy(value)
    every = list(places(value))
    path = every[int(rng.integers(len(every)))]
    if not path:
        return NASTY[int(rng.integers(len(NASTY)))]
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    old, how = holder[path[-1]], int(rng.integers(5))
    if how == 0:
        del holder[path[-1]]
    elif how == 1 and isinstance(holder, dict):
        holder["another"] = NASTY[int(rng.integers(len(NASTY)))]
    elif how == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        factor = (-1, 10, 1e6, 1e-6, 1.5)[int(rng.integers(5))]
        holder[path[-1]] = type(old)(old * factor) if abs(old * factor) < 1e300 else -old
    elif how == 3:
        holder[path[-1]] = [old]
    else:
        holder[path[-1]] = NASTY[int(rng.integers(len(NASTY)))]
    return value


def change_json(path: Path, rng: np.random.Generator) -> bool:
    """Change a JSON file's value, or now and then its bytes; whether the value is another."""
    old = json.loads(path.read_text(encoding="utf-8"))
    if rng.random() < 0.15:
        change_bytes(path, rng)
        with contextlib.suppress(ValueError):
            return bool(json.loads(path.read_text(encoding="utf-8")) != old)
        return True
    new = changed(old, rng)
    path.write_text(json.dumps(new), encoding="utf-8")
    return bool(new != old)


def change_bytes(path: Path, rng: np.random.Generator) -> None:
    """Cut, flip, blank, double or empty a file."""
    data = bytearray(path.read_bytes())
    how = int(rng.integers(5))
    at = int(rng.integers(max(1, len(data))))
    if how == 0:
        data = data[:at]
    elif how == 1 and data:
        data[at] ^= 1 << int(rng.integers(8))
    elif how == 2:
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif how == 3:
        data += data[:at]
    else:
        data = bytearray()
    path.unlink()  # the original may be a hard link
    path.write_bytes(data)


def sign(folder: Path) -> None:
    """Have a manifest say that what is there now is what was meant."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    names = sorted(p.name for p in folder.iterdir() if p != path and p.is_file())
    manifest["files"] = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    core = {key: manifest[key] for key in ("kind", "parents", "files")}
    text = json.dumps(core, sort_keys=True, separators=(",", ":"))
    manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.unlink()
    path.write_text(json.dumps(manifest), encoding="utf-8")


def copied(source: Path, target: Path) -> Path:
    """A cheap copy: text apart, large files as hard links."""

    def one(a: str, b: str) -> str:
        with contextlib.suppress(OSError):
            if not a.endswith(".json"):
                os.link(a, b)
                return b
        return str(shutil.copy2(a, b))

    return Path(shutil.copytree(source, target, copy_function=one))


def rearranged(folder: Path, rng: np.random.Generator) -> None:
    """A file removed, renamed, doubled, added, or replaced by a link or a folder."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    one, other = (files[int(rng.integers(len(files)))] for _ in range(2))
    how = int(rng.integers(6))
    if how == 0:
        one.unlink()
    elif how == 1:
        one.rename(folder / "renamed")
    elif how == 2:
        shutil.copy2(one, folder / "copy.json")
    elif how == 3 and one != other:
        one.unlink()
        shutil.copy2(other, one)
    elif how == 4:
        one.rename(folder.parent / one.name)
        one.symlink_to(f"../{one.name}")
    else:
        one.unlink()
        one.mkdir()


# What is tried.

_kept: dict[str, Any] = {}


def kept(name: str, make: Callable[[], Any]) -> Any:
    """Made once per process."""
    if name not in _kept:
        _kept[name] = make()
    return _kept[name]


def bundles(rng: np.random.Generator, work: Path) -> None:
    """A bundle: contract, manifest, graphs, weights."""
    from export.runtime.agent import agent_of
    from export.runtime.bundle_spec import parse, read_contract
    from export.runtime.planner import OnnxPlanner
    from export.runtime.world_model import OnnxWorldModel

    source = ROOT / "robot_wm/weights/bundles/two_room"
    original = kept("contract", lambda: read_contract(source)[0])
    golden = kept("golden", lambda: dict(np.load(source / "golden.npz", allow_pickle=False)))
    folder, how = copied(source, work / "bundle"), rng.random()
    signed, weights = rng.random() < 0.7, False
    if how < 0.55:
        change_json(folder / "contract.json", rng)
    elif how < 0.75:
        signed = False
        change_json(folder / "manifest.json", rng)
    elif how < 0.85:
        rearranged(folder, rng)
        signed = signed and (folder / "manifest.json").is_file()
    else:
        names = ("weights.bin", "encode.onnx", "step_costs.onnx", "planner.onnx", "golden.npz")
        change_bytes(folder / names[int(rng.integers(len(names)))], rng)
        weights = signed
    if signed:
        sign(folder)
    model = OnnxWorldModel(folder, threads=1)
    holds(weights or model.contract == original, "another contract was believed")
    agent = agent_of(model, candidates=8, iterations=1, elites=2)
    agent.reset({"image": golden["in_goal"]}, 0)
    action = agent.act({"image": golden["in_image"]})
    holds(np.isfinite(action).all() and np.abs(action).max() <= 1, "an action out of bounds")
    planner = OnnxPlanner(folder, threads=1)
    names = ("previous", "image", "goal", "action", "mean")
    plan = planner.plan(*(golden[f"in_{n}"] for n in names), np.random.default_rng(0))
    holds(np.isfinite(plan.actions).all(), "a plan that is not finite")
    holds(parse(model.contract.to_json(), "x") == model.contract, "a contract unlike itself")


def manifests(rng: np.random.Generator, work: Path) -> None:
    """An artefact and what its manifest says."""
    from robot_wm.core.storage.provenance import atomic_folder, read_manifest, write_manifest

    folder = work / "thing"
    with atomic_folder(folder) as inside:
        (inside / "a.bin").write_bytes(b"0123")
        (inside / "b.bin").write_bytes(b"")
        wrote = write_manifest(inside, "thing", {"parent": "0" * 64}, {"score": 1.5})
    if rng.random() < 0.8:
        change_json(folder / "manifest.json", rng)
    elif rng.random() < 0.5:
        rearranged(folder, rng)
    else:
        change_bytes(folder / "a.bin", rng)
    read = read_manifest(folder, "thing")
    same = all(read[key] == wrote[key] for key in ("kind", "parents", "files", "sha256"))
    holds(same and (folder / "a.bin").read_bytes() == b"0123", "another artefact was believed")
    holds(isinstance(read["facts"], dict) and isinstance(read["provenance"], dict), "types")


def _tiny_store(root: Path) -> list[Any]:
    from robot_wm.data.episodes import Episode, Schema
    from robot_wm.data.formats.native import open_dataset, write_shard

    rng, made = np.random.default_rng(0), []
    schema = Schema(
        task="toy", collection="c", image_size=8, frame_every=5, control_dt=0.1,
        control_low=(-1.0, -1.0), control_high=(1.0, 1.0), pose_names=("x [m]", "y [m]"),
        state_dim=3, proprio_dim=2, seed=0, episodes_per_shard=2, config={"steps": 10},
    )  # fmt: skip
    open_dataset(root, schema)
    for number, steps in enumerate((10, 12)):
        made.append(
            Episode(
                id=number,
                frames=rng.integers(0, 256, (steps // 5 + 1, 8, 8, 3), dtype=np.uint8),
                states=rng.normal(size=(steps + 1, 3)),
                poses=rng.normal(size=(steps + 1, 2)),
                proprio=rng.normal(size=(steps + 1, 2)).astype(np.float32),
                actions=rng.uniform(-1, 1, size=(steps, 2)).astype(np.float32),
                meta={"seed": number, "policy": "p", "noise": 0.5, "factors": {}},
            )
        )
    write_shard(root, 0, made)
    return made


def _change_column(path: Path, rng: np.random.Generator) -> None:
    """Another shape, type or value in a column that is whole as a file."""
    rows = np.load(path, allow_pickle=False)
    made = (
        rows[:-1], np.concatenate([rows, rows]), rows[..., None], rows[..., :-1], rows[:0],
        rows.astype(np.float64) * np.nan, rows.astype(np.int64), rows.astype("U8"), rows.ravel(),
    )  # fmt: skip
    path.unlink()
    np.save(path, made[int(rng.integers(len(made)))], allow_pickle=False)


def shards(rng: np.random.Generator, work: Path) -> None:
    """A data set: schema, records, columns."""
    from robot_wm.data.episodes import COLUMNS
    from robot_wm.data.formats.native import EpisodeStore

    root = work / "data"
    wrote, shard = _tiny_store(root), root / "shard-00000"
    signed, how = rng.random() < 0.5, rng.random()
    schema = how < 0.3
    if schema:
        change_json(root / "dataset.json", rng)
    elif how < 0.55:
        change_json(shard / "episodes.json", rng)
    elif how < 0.65:
        signed = False
        change_json(shard / "manifest.json", rng)
    elif how < 0.75:
        rearranged(shard, rng)
        signed = signed and (shard / "manifest.json").is_file()
    else:
        path = shard / f"{COLUMNS[int(rng.integers(len(COLUMNS)))]}.npy"
        (change_bytes if rng.random() < 0.4 else _change_column)(path, rng)
    if signed and not schema:
        sign(shard)
    store = EpisodeStore(root, verify=True)
    holds(len(store.sha256) == 64, "no identity")
    for index, read in enumerate(store):
        steps, every = len(read), store.schema.frame_every
        sizes = {"states": steps + 1, "poses": steps + 1, "proprio": steps + 1, "actions": steps}
        holds(len(read.frames) == steps // every + 1, "frames of another number")
        for name, count in sizes.items():
            rows = getattr(read, name)
            holds(rows.ndim == 2 and len(rows) == count, f"{name} of shape {rows.shape}")
        holds(read.frames.dtype == np.uint8 and read.actions.dtype == np.float32, "types")
        holds(np.isfinite(read.actions).all() and np.isfinite(read.proprio).all(), "not finite")
        if not signed and not schema:
            same = all(np.array_equal(getattr(read, n), getattr(wrote[index], n)) for n in COLUMNS)
            holds(same, "altered columns were believed")
    for split in ("train", "validation", "test"):
        store.indices(split)


def pair_lists(rng: np.random.Generator, work: Path) -> None:
    """A pair list."""
    from planning.evaluation.goal_pairs import PairList

    def cut() -> dict[str, Any]:
        path = ROOT / "robot_wm/pairs/official-two_room-0.json"
        whole = json.loads(path.read_text(encoding="utf-8"))
        return {**whole, "pairs": whole["pairs"][:3]}

    path = work / "list.json"
    path.write_text(json.dumps(kept("pairs", cut), sort_keys=True, separators=(",", ":")))
    change_json(path, rng)
    made = PairList.load(path)
    made.save(work / "again.json")
    holds(PairList.load(work / "again.json") == made, "a list unlike itself")
    holds(made.budget >= 1 and made.offset >= 1 and made.eval_seed >= 0, "impossible numbers")
    for pair in made.pairs:
        for name in ("start_state", "goal_state", "start_pose", "goal_pose"):
            rows = getattr(pair, name)
            holds(rows and all(isinstance(x, float) and math.isfinite(x) for x in rows), name)
        holds(isinstance(pair.pair_id, str) and isinstance(pair.episode_id, int), "types")
        holds(all(isinstance(v, bool) for v in pair.initial_success.values()), "flags")


NUMBERS = ("-1000000000", "1e400", "nan", "inf", "-inf")
TEXTS = ("null", "true", "[]", "{}", "[1,2]", "x", "''", "-1", "0", "1", "3", "0.5", "é", "a b")


def _options() -> list[tuple[str, bool]]:
    """Dotted names of all options, and whether each is a number."""
    from robot_wm.cli.help import option_rows
    from robot_wm.cli.main import compose

    settings = compose([])
    sections = (
        "", "task", "collect", "pretrain", "probe", "world_model", "train", "planner", "oracle",
        "diagnosis", "pairs", "evaluate", "improve", "reach", "soak", "report", "demo", "encoder",
    )  # fmt: skip
    found = []
    for _, rows in option_rows(settings, sections):
        for name, value, _ in rows:
            number = value.lstrip("-").replace(".", "").replace("e-", "").isdigit()
            found.append((name, number))
    return found


def overrides(rng: np.random.Generator, work: Path) -> None:
    """Words on the command line."""
    from robot_wm.cli.main import compose

    os.environ["ROBOT_WM_HOME"] = str(work)
    options = kept("options", _options)
    name, number = options[int(rng.integers(len(options)))]
    how, impossible = rng.random(), False
    if number and how < 0.5:
        value, impossible = NUMBERS[int(rng.integers(len(NUMBERS)))], True
    else:
        value = TEXTS[int(rng.integers(len(TEXTS)))]
    if how > 0.9:
        letters = list(name)
        letters[int(rng.integers(len(letters)))] = "qz.=[ "[int(rng.integers(6))]
        name, impossible = "".join(letters), False
    settings = compose([f"{name}={value}"])
    settings.check()
    holds(not impossible, f"{name}={value} was accepted")
    for leaf in (v for _, v in _leaves(asdict(settings))):
        holds(not isinstance(leaf, float) or math.isfinite(leaf), f"{name}={value} is not finite")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, path)
    else:
        yield path, value


def _picture(rng: np.random.Generator) -> np.ndarray:
    """Coloured rectangles on white ``[96, 96, 3]``."""
    image = np.full((96, 96, 3), 255, np.uint8)
    for _ in range(4):
        top, left = rng.integers(0, 64, 2)
        height, width = rng.integers(8, 32, 2)
        image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image


def _stored(array: np.ndarray, mode: str, rng: np.random.Generator) -> tuple[Any, np.ndarray, str]:
    """A picture in some mode, what it should be read as ``[96, 96, 3]``, and its format."""
    from PIL import Image

    gray = array.mean(-1)
    grays = np.repeat(gray[..., None], 3, axis=-1)
    plain = Image.fromarray(array)
    if mode == "L":
        return Image.fromarray(gray.astype(np.uint8)), grays, "png"
    if mode == "I;16":
        return Image.fromarray((gray * 257).astype(np.uint16)), grays, "png"
    if mode == "F":
        return Image.fromarray((gray / 255).astype(np.float32)), grays, "tiff"
    if mode == "RGBA":
        hidden = array.copy()
        hidden[(array == 255).all(-1)] = rng.integers(0, 256, 3)
        alpha = np.where((array == 255).all(-1), 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([hidden, alpha])), array, "png"
    if mode == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        made = io.BytesIO()
        Image.fromarray(np.rot90(array).copy()).save(made, "png", exif=exif)
        return Image.open(made), array, "png"
    if mode == "P":
        return plain.convert("P", palette=Image.Palette.ADAPTIVE), array, "png"
    return plain, array, "png"


def images(rng: np.random.Generator, work: Path) -> None:
    """A goal picture from a file."""
    from PIL import Image, ImageOps

    from planning.commands.reach_goal import pictured

    array = _picture(rng)
    modes = ("RGB", "L", "I;16", "F", "RGBA", "exif", "P")
    mode = modes[int(rng.integers(len(modes)))]
    made, wanted, kind = _stored(array, mode, rng)
    path = work / f"goal.{kind}"
    if mode == "exif":
        made.fp.seek(0)
        path.write_bytes(made.fp.read())
    else:
        made.save(path)
    damaged = rng.random() < 0.4
    if damaged:
        change_bytes(path, rng)
    read = pictured(path, 48)
    holds(read.shape == (48, 48, 3) and read.dtype == np.uint8, f"{read.dtype} {read.shape}")
    if not damaged:
        clear = Image.fromarray(np.round(wanted).astype(np.uint8))
        fitted = np.asarray(ImageOps.fit(clear, (48, 48), Image.Resampling.BOX)).astype(int)
        off = np.abs(read.astype(int) - fitted).mean()
        holds(off < (6 if mode == "P" else 2), f"{mode} is off by {off:.0f} grey levels")


def limits(rng: np.random.Generator, work: Path) -> None:
    """What a controller is told to enforce."""
    from export.robot.controller import Limits, Workspace

    odd = (*NASTY, math.nan, math.inf, -math.inf, 0.1, 0.2, 3, (0.0, 0.0), (0.0,), np.float32(0.5))

    def some() -> Any:
        return odd[int(rng.integers(len(odd)))]

    values: dict[str, Any] = {
        "max_change": 0.5,
        "noop_action": (0.0, 0.0),
        "max_frame_age_s": 0.2,
        "max_plan_time_s": 0.1,
    }
    values |= {"jump": 5.0, "frozen": 4, "patience": 5}
    for name in rng.choice(sorted(values), int(rng.integers(1, 3)), replace=False):
        values[str(name)] = some()
    if rng.random() < 0.4:
        box: dict[str, Any] = {"low": (0.0, 0.0), "high": (1.0, 1.0), "reach": 0.1}
        box[str(rng.choice(sorted(box)))] = some()
        made = Workspace(**box)
        corners = [*made.low, *made.high, made.reach]
        holds(all(math.isfinite(x) and not isinstance(x, bool) for x in corners), f"{made}")
        values["workspace"] = made
    made_limits = Limits(**values)
    for item in fields(made_limits):
        value = getattr(made_limits, item.name)
        if item.name == "noop_action":
            holds(all(math.isfinite(x) and not isinstance(x, bool) for x in value), f"{value}")
        elif item.name != "workspace":
            real = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
            holds(real and math.isfinite(value) and value > 0, f"{item.name} = {value!r}")


KINDS: dict[str, tuple[Case, int]] = {
    "bundles": (bundles, 200),
    "shards": (shards, 500),
    "manifests": (manifests, 400),
    "pair_lists": (pair_lists, 350),
    "overrides": (overrides, 250),
    "images": (images, 200),
    "limits": (limits, 150),
}
"""Cases by kind, and how many the tests try: 2,000 in all."""


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS:g} s of processor time")


def verdict(case: Case, kind: str, number: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Try one case: ``right``, ``typed`` (refused by name) or ``wrong``; 0 seconds: no limit."""
    rng = np.random.default_rng([sum(kind.encode()), number])
    row: dict[str, Any] = {"kind": kind, "case": number, "verdict": "right"}
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        try:
            case(rng, Path(folder))
        except RobotWMError as error:
            row |= {"verdict": "typed", "error": type(error).__name__}
        except Exception as error:
            row |= {"verdict": "wrong", "error": f"{type(error).__name__}: {error}"[:300]}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return {**row, "cpu_s": round(time.process_time() - began, 3)}


def limit_memory() -> None:
    """No more than ``MEMORY`` beyond what this process has now."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmSize"))
        limit = int(line.split()[1]) * 1024 + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    """Run cases of one kind."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("kind", choices=sorted(KINDS))
    arguments.add_argument("--first", type=int, default=0)
    arguments.add_argument("--count", type=int, default=0)
    options = arguments.parse_args()
    case, usual = KINDS[options.kind]
    signal.signal(signal.SIGPROF, _too_long)
    # Imports and caches are not of the first case's time; cut short, torch stays half imported.
    verdict(case, options.kind, 10**6, seconds=0)
    limit_memory()
    bad = 0
    for number in range(options.first, options.first + (options.count or usual)):
        found = verdict(case, options.kind, number)
        bad += found["verdict"] == "wrong"
        print(json.dumps(found), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
