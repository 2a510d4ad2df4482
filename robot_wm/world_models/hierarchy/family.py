"""The hierarchy as a family: an upper level over a model that exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import spec_from_json
from robot_wm.core.storage.provenance import MANIFEST, check_parent, storage_root
from robot_wm.data.sequences import open_pairs
from robot_wm.encoders.base import load_encoder
from robot_wm.training.checkpoint import full_precision, load_artifact, load_module
from robot_wm.training.loop import fit
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.hierarchy.config import FREE, HierarchyConfig
from robot_wm.world_models.hierarchy.model import HierarchicalModel
from robot_wm.world_models.hierarchy.network import UpperLevel
from robot_wm.world_models.hierarchy.training import LOW, UPPER, UpperTraining
from robot_wm.world_models.jepa.actor.dataset import RecordedRows
from robot_wm.world_models.jepa.model import JEPAWorldModel
from robot_wm.world_models.jepa.network import Network, Sizes

SHIPPED = Path(__file__).parents[2] / "weights"


class HierarchyFamily:
    """See :class:`robot_wm.world_models.base.WorldModelFamily`."""

    name, config = "hjepa", HierarchyConfig
    free: Sequence[str] = FREE

    def train(
        self, config: HierarchyConfig, data: TrainingData, out: Path,
        evaluate: Evaluate | None = None,
    ) -> Path:  # fmt: skip
        """Train on demonstrations among the recorded episodes.

        Raises:
            WeightsError: no such lower level.
            DataError: it is of another encoder, or there is no demonstration.
        """
        low = JEPAWorldModel.load(lower_level(config), data.encoder)
        caches = [data.latents(path) for path in data.datasets]
        pairs = open_pairs(config.task, data.datasets, caches, low.encoder.sha256)
        rows = RecordedRows.load(pairs, low, config.demonstration_noise)
        stores = [store for store, _ in pairs]
        target = Path(out) / KIND
        make = partial(UpperTraining, self.name, config, rows, stores, low, target)
        return fit(make, out)

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> HierarchicalModel:
        """Load both levels.

        Raises:
            WeightsError: missing, altered or misshapen weights.
            DataError: the encoder is not the one of the lower level.
            ConfigError: an unknown cost.
        """
        encoder = load_encoder(encoder_folder)
        tensors, described, manifest = load_artifact(folder, KIND)
        check_parent(manifest, "encoder", encoder.sha256)
        try:
            config = build(HierarchyConfig, described["train"], "train")
            spec, kind = spec_from_json(described["spec"]), cost or described["cost"]
            network = Network(Sizes.stored(described, folder))
            upper = UpperLevel(config, network.sizes.latent, network.sizes.action)
        except (KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error}",
                "the keys of HierarchyConfig, Sizes and ModelSpec",
                "train the world model again",
            ) from error
        for name, module in ((LOW, network), (UPPER, upper)):
            load_module(module, _part(tensors, name), f"{name} level of {folder}")
            module.requires_grad_(False)
        spec = replace(spec, hashes={**manifest["parents"], KIND: manifest["sha256"]})
        return HierarchicalModel(JEPAWorldModel(network, encoder, spec, kind), upper, spec)


def _part(tensors: dict[str, Any], name: str) -> dict[str, Any]:
    """Tensors of one level."""
    head = f"{name}."
    whole = full_precision(tensors)
    return {k.removeprefix(head): v for k, v in whole.items() if k.startswith(head)}


def lower_level(config: HierarchyConfig) -> Path:
    """Folder of the model that ``config.low`` names.

    Raises:
        WeightsError: there is none.
    """
    named = {"shipped": SHIPPED / config.task}
    stored = storage_root() / "models" / f"{config.task}-{config.low}" / KIND
    for folder in (named.get(config.low, stored), Path(config.low)):
        if (folder / MANIFEST).is_file():
            return folder
    raise WeightsError(
        f"world_model.low={config.low}: no world model in {named.get(config.low, stored)}",
        f"shipped, the name of a house world model of {config.task}, or its folder",
        f"train it: robot-wm train task={config.task} name=<name>",
    )


FAMILY = HierarchyFamily()
