"""What a bundle says of itself: names, shapes, units, bounds, period, planner and parents.

Everything a robot needs to know stands in ``contract.json`` and once more inside every ONNX file,
so that a file that has lost its folder still carries its manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robot_wm.contracts import ModelSpec, spec_from_json, spec_to_json
from robot_wm.errors import ConfigError, DataError, WeightsError
from robot_wm.manifest import read_json, read_manifest
from robot_wm.symmetry import Mirror

KIND, CONTRACT, VERSION = "bundle", "contract.json", 2
METADATA_KEY = "robot_wm.contract"
GOLDEN = "golden.npz"  # inputs and outputs of the planner graph


@dataclass(frozen=True)
class Contract:
    """The manual of a bundle.

    Attributes:
        version: of this layout.
        spec: what planners ask of a world model: task, image size, bounds, period, horizon; its
            hashes are the parents.
        camera: where the uint8 RGB images come from.
        action_unit: of the bounds.
        heads: plans that the learned actor gives without drawing.
        latent: size of the latent.
        optimiser, options: search that the planner graph holds and the runtime repeats.
        discount: 0 costs the last block alone, above 0 sums all with that factor per block.
        proposals: plans asked of the actor per search.
        novelty: of an image above which it is unlike everything seen, see ``Network.novelty``.
        graphs: inputs and outputs with shapes, by graph; a letter is free at run time.
        licence: of weights and data.
        precision: of the matrices in the graph that costs plans; all others are float32.
        mirror: of the scene, in which plans are judged, too; the planner graph does without.
    """

    version: int
    spec: ModelSpec
    camera: str
    action_unit: str
    heads: int
    latent: int
    optimiser: str
    options: dict[str, Any]
    discount: float
    proposals: int
    novelty: float
    graphs: dict[str, dict[str, dict[str, Any]]]
    licence: str = "Apache-2.0"
    precision: str = "float32"
    mirror: Mirror | None = None

    def to_json(self) -> dict[str, Any]:
        """Readable form."""
        spec = {**spec_to_json(self.spec), "hashes": dict(self.spec.hashes)}
        return {**asdict(self), "spec": spec}


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
        mirror = Mirror.from_json(value["mirror"]) if value.get("mirror") else None
        spec = spec_from_json(value["spec"])
        return Contract(**{**value, "spec": spec, "mirror": mirror})
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
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
