"""What ``robot-wm distill`` starts from, and when what it made is used again."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from robot_wm.cli.main import Session, compose
from robot_wm.commands import distill
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.storage.provenance import (
    atomic_folder,
    read_manifest,
    write_json,
    write_manifest,
)
from robot_wm.data.formats import base as formats
from robot_wm.world_models import base

KIND = base.KIND
WORDS = ("task=push_t", "name=mine", "weights=mine", "encoder_name=other", "train_on=[nominal]")


def stored(folder: Path, kind: str, parents: dict, facts: dict) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as work:
        write_json(work / "config.json", {"spec": {"image_size": 64}, "of": str(folder)})
        write_manifest(work, kind, parents, facts)
    return str(read_manifest(folder, kind)["sha256"])


class Family:
    """Writes what it is told, and remembers from where."""

    name = "toy"

    def __init__(self, encoder: str) -> None:
        self.encoder, self.sources = encoder, list[tuple[Path, Path]]()

    def distill(self, config, source, data, seed, out, pictures=None, encoder_out=None) -> Path:
        self.sources.append(source)
        latent = read_manifest(source[0], KIND)["sha256"]
        facts = {"config": {**asdict(config), "seed": seed}, "datasets": data.datasets}
        parents = {"encoder": self.encoder, "latent": latent}
        if config.encoder:
            learned = stored(encoder_out, "encoder", {}, {"distill": {}})
            parents |= {"encoder": learned, "first_encoder": self.encoder}
        stored(out / KIND, KIND, parents, facts)
        return out / KIND


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A model called ``mine`` on an encoder of its own, another encoder, and invented episodes."""
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    own, other = (tmp_path / f"encoders/{name}/encoder" for name in ("own", "other"))
    digest = stored(own, "encoder", {}, {"n": 0})
    stored(tmp_path / f"models/push_t-mine/{KIND}", KIND, {"encoder": digest}, {})
    family = Family(stored(other, "encoder", {}, {"n": 1}))
    made = SimpleNamespace(root=tmp_path, own=own, family=family, episodes="a" * 64)
    monkeypatch.setattr(base, "family_of", lambda folder: family)
    monkeypatch.setattr(distill, "encoder", lambda session: other)
    monkeypatch.setattr(
        distill, "training_data", lambda *_: SimpleNamespace(datasets=[made.episodes])
    )
    monkeypatch.setattr(formats, "is_dataset", lambda root: True)
    monkeypatch.setattr(
        formats, "open_episodes", lambda root, verify: SimpleNamespace(sha256=made.episodes)
    )
    return made


def run(*words: str) -> int:
    return distill.run(Session(compose((*WORDS, *words)), (*WORDS, *words)))


def test_the_source_is_the_stored_model_even_where_it_has_the_runs_own_name(home) -> None:
    assert run() == 0
    assert home.family.sources == [(home.root / f"models/push_t-mine/{KIND}", home.own)]
    assert (home.root / f"models/push_t-mine-distilled/{KIND}/manifest.json").is_file()
    with pytest.raises(WeightsError, match="no world model 'none' of push_t"):
        run("weights=none", "name=none")


def test_what_was_made_is_used_again_unless_it_was_made_otherwise(home) -> None:
    for words in ((), (), ("distill.log_every=7",)):
        assert run(*words) == 0
    assert len(home.family.sources) == 1
    for word, told in (("distill.steps=9", "steps = 8000"), ("seed=1", "seed = 0")):
        with pytest.raises(DataError, match=told):
            run(word)
    home.episodes = "b" * 64
    with pytest.raises(DataError, match=r"other episodes.*push_t-nominal-mine") as caught:
        run()
    assert str(home.root / "models/push_t-mine-distilled") in caught.value.next_step


def test_a_family_that_cannot_is_refused(home, monkeypatch) -> None:
    monkeypatch.setattr(base, "family_of", lambda folder: SimpleNamespace(name="dreamer"))
    with pytest.raises(ConfigError, match="dreamer, whose latent cannot be distilled"):
        run()


def test_an_encoder_that_learned_has_the_model_s_name_and_is_used_again(home) -> None:
    for _ in range(2):
        assert run("distill.encoder=true") == 0
    assert len(home.family.sources) == 1
    learned = home.root / "encoders/mine-distilled/encoder"
    made = read_manifest(home.root / f"models/push_t-mine-distilled/{KIND}", KIND)
    assert made["parents"]["encoder"] == read_manifest(learned, "encoder")["sha256"]
    with pytest.raises(DataError, match="encoder"):
        run()  # asked for over the frozen one now
