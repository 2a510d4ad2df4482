"""What a bundle says of itself: names, shapes, units, bounds, period, planner and parents.

Everything a robot needs to know stands in ``contract.json`` and once more inside every ONNX file,
so that a file that has lost its folder still carries its manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robot_wm.contracts import ModelSpec
from robot_wm.errors import DataError, WeightsError
from robot_wm.manifest import read_json, read_manifest

KIND, CONTRACT, VERSION = "bundle", "contract.json", 1
METADATA_KEY = "robot_wm.contract"
GRAPHS = ("encode", "step_costs", "propose", "planner")


@dataclass(frozen=True)
class Contract:
    """The manual of a bundle.

    Attributes:
        version: of this layout.
        task: what it was trained for.
        image_size: side of the uint8 RGB images [px]; ``camera`` says from where.
        action_low, action_high: bounds of one block of control actions, in ``action_unit``.
        control_dim: numbers in one control action.
        control_dt: seconds between control actions [s].
        context, horizon: frames known, blocks planned.
        heads: plans that the learned actor gives without drawing.
        latent: size of the latent.
        optimiser, options: search that the planner graph holds and the runtime repeats.
        discount: 0 costs the last block alone, above 0 sums all with that factor per block.
        proposals: plans asked of the actor per search.
        graphs: inputs and outputs with shapes, by graph; a letter is free at run time.
        parents: sha256 of encoder and world model.
        licence: of weights and data.
    """

    version: int
    task: str
    image_size: int
    camera: str
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_unit: str
    control_dim: int
    control_dt: float
    context: int
    horizon: int
    heads: int
    latent: int
    optimiser: str
    options: dict[str, Any]
    discount: float
    proposals: int
    graphs: dict[str, dict[str, dict[str, Any]]]
    parents: dict[str, str]
    bytes_per_candidate: int
    licence: str = "Apache-2.0"

    @property
    def spec(self) -> ModelSpec:
        """What planners ask of a world model."""
        return ModelSpec(
            task=self.task,
            action_low=self.action_low,
            action_high=self.action_high,
            control_dim=self.control_dim,
            control_dt=self.control_dt,
            context=self.context,
            horizon=self.horizon,
            image_size=self.image_size,
            hashes=self.parents,
            bytes_per_candidate=self.bytes_per_candidate,
        )

    def to_json(self) -> dict[str, Any]:
        """Readable form."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def parse(value: Mapping[str, Any], source: str) -> Contract:
    """A contract from its readable form.

    Raises:
        WeightsError: of another version, or not a contract.
    """
    version = value.get("version") if isinstance(value, Mapping) else None
    if version != VERSION:
        raise WeightsError(
            f"{source} has contract version {version}", f"version {VERSION}",
            "export the bundle again with this release",
        )  # fmt: skip
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value.items()
        }
        return Contract(**fields)
    except TypeError as error:
        raise WeightsError(
            f"{source} is no contract: {error}", "the keys of Contract", "export the bundle again"
        ) from error


def read_contract(folder: Path) -> tuple[Contract, dict[str, Any]]:
    """Contract and manifest of a bundle, every file's hash verified.

    Raises:
        WeightsError: a file missing or altered by a single bit, or another contract version.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder, KIND)
        return parse(read_json(folder / CONTRACT), str(folder / CONTRACT)), manifest
    except DataError as error:
        raise WeightsError(
            f"cannot use the bundle {folder}: {error.received}", error.accepted,
            "copy the bundle again or export it again",
        ) from error  # fmt: skip
