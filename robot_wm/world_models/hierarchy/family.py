"""The hierarchy as a family: an upper level over a model that exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robot_wm.core.config import build
from robot_wm.core.errors import WeightsError
from robot_wm.core.protocols import ModelSpec
from robot_wm.core.storage.provenance import MANIFEST, storage_root
from robot_wm.data.formats.base import spec_of
from robot_wm.data.sequences import open_pairs
from robot_wm.encoders.base import load_encoder
from robot_wm.training.loop import fit
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.hierarchy.config import FREE, HierarchyConfig
from robot_wm.world_models.hierarchy.model import HierarchicalModel
from robot_wm.world_models.hierarchy.network import UpperLevel
from robot_wm.world_models.hierarchy.training import LOW, UPPER, UpperTraining
from robot_wm.world_models.jepa.actor.dataset import RecordedRows
from robot_wm.world_models.jepa.model import CONTEXT, JEPAWorldModel
from robot_wm.world_models.jepa.network import Network, Sizes
from robot_wm.world_models.stored import check_robot, load_network

SHIPPED = Path(__file__).parents[2] / "weights"


class HierarchyFamily:
    """See :class:`robot_wm.world_models.base.WorldModelFamily`."""

    name, config = "hjepa", HierarchyConfig
    free: Sequence[str] = FREE
    proposes = True

    def train(
        self, config: HierarchyConfig, data: TrainingData, out: Path,
        evaluate: Evaluate | None = None,
    ) -> Path:  # fmt: skip
        """Train on demonstrations among the recorded episodes.

        Raises:
            WeightsError: no such lower level.
            DataError: it is of another encoder or robot, or there is no demonstration.
        """
        folder = lower_level(config)
        low = JEPAWorldModel.load(folder, data.encoder)
        caches = [data.latents(path) for path in data.datasets]
        pairs = open_pairs(config.task, data.datasets, caches, low.encoder.sha256)
        check_robot(folder, spec_of(pairs[0][0], CONTEXT, low.spec.horizon))
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

        def make(stored: Mapping[str, Any], spec: ModelSpec) -> tuple[nn.ModuleDict, str]:
            network = Network(Sizes.stored(stored, folder))
            config = build(HierarchyConfig, stored["train"], "train")
            upper = UpperLevel(config, network.sizes.latent, network.sizes.action)
            return nn.ModuleDict({LOW: network, UPPER: upper}), cost or stored["cost"]

        both, kind, spec = load_network(folder, encoder.sha256, make, HierarchyConfig)
        low, upper = both[LOW], both[UPPER]
        assert isinstance(low, Network)  # as it was made
        assert isinstance(upper, UpperLevel)
        return HierarchicalModel(JEPAWorldModel(low, encoder, spec, kind), upper, spec)


def lower_level(config: HierarchyConfig) -> Path:
    """Folder of the model that ``config.low`` names.

    Raises:
        WeightsError: there is none.
    """
    named = storage_root() / "models" / f"{config.task}-{config.low}" / KIND
    origin, dash, variant = config.low.partition("-")
    if origin == "shipped":
        named = SHIPPED / f"{config.task}{dash}{variant}"
    for folder in (named, Path(config.low)):
        if (folder / MANIFEST).is_file():
            return folder
    raise WeightsError(
        f"world_model.low={config.low}: no world model in {named}",
        f"shipped, the name of a house world model of {config.task}, or its folder",
        f"train it: robot-wm train task={config.task} name=<name>",
    )


FAMILY = HierarchyFamily()
