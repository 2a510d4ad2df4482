"""What a bundle says of itself: names, shapes, units, bounds, period, planner and parents.

Everything a robot needs to know stands in ``contract.json`` and once more inside every ONNX file,
so that a file that has lost its folder still carries its manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from planning.optimizers import OPTIMIZERS, Optimizer
from robot_wm.core.aliases import current, stored
from robot_wm.core.config import Positive, Within, build, unknown
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.protocols import ModelSpec, check_spec, spec_to_json
from robot_wm.core.storage.json_io import parse_json
from robot_wm.core.storage.provenance import read_json, read_manifest
from robot_wm.core.symmetry import Mirror

KIND, CONTRACT, VERSION = "bundle", "contract.json", 2
METADATA_KEY = "robot_wm.contract"
GOLDEN = "golden.npz"  # inputs and outputs of the planner graph
MOST = 100_000  # candidates, proposals or rounds: more would take all memory or for ever


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
        optimizer, options: search that the planner graph holds and the runtime repeats.
        discount: 0 costs the last block alone, above 0 sums all with that factor per block.
        proposals: plans asked of the actor per search.
        novelty: of an image above which it is unlike everything seen, see ``Network.novelty``.
        graphs: inputs and outputs with shapes, by graph; a letter is free at run time.
        license: of weights and data.
        precision: of the matrices in the graph that costs plans; all others are float32.
        mirror: of the scene, in which plans are judged, too; the planner graph does without.
        alone: whether the runtime acts by the actor alone unless told otherwise, since that reached
            more goals than the search; the planner graph searches.
    """

    version: int
    spec: ModelSpec
    camera: str
    action_unit: str
    heads: Annotated[int, Within(1, 1024)]
    latent: Annotated[int, Within(1, 2**16)]
    optimizer: str
    options: dict[str, Any]
    discount: Annotated[float, Within(0, 100)]
    proposals: Annotated[int, Within(0, MOST)]
    novelty: Positive
    graphs: dict[str, dict[str, dict[str, Any]]]
    license: str = "Apache-2.0"
    precision: str = "float32"
    mirror: Mirror | None = None
    alone: bool = False

    def to_json(self) -> dict[str, Any]:
        """Readable form; what searches says nothing of ``alone``, so that it stays what it was."""
        spec = {**spec_to_json(self.spec), "hashes": dict(self.spec.hashes)}
        told = {k: v for k, v in asdict(self).items() if k != "alone" or v}
        return {**stored("contract", told), "spec": spec}


def parse(value: Any, source: str) -> Contract:
    """A contract from its readable form; nothing in it is believed that makes no sense.

    Raises:
        WeightsError: of another version, or not a contract.
    """
    version = value.get("version") if isinstance(value, Mapping) else None
    if version != VERSION or isinstance(version, bool):
        raise WeightsError(
            f"{source} has contract version {version}", f"version {VERSION}",
            "export the bundle again with this release",
        )  # fmt: skip
    try:
        contract = build(Contract, current("contract", value))
        check_spec(contract.spec)
        search = search_of(contract)
    except ConfigError as error:
        raise WeightsError(
            f"{source}: {error.received}", error.accepted, "export the bundle again"
        ) from error
    size = search.candidates, search.iterations
    if max(size) > MOST or size[0] * size[1] > 10 * MOST:
        raise WeightsError(
            f"{source}: a search of {size[0]} candidates in {size[1]} rounds",
            f"at most {MOST} of each", "export the bundle again",
        )  # fmt: skip
    mirror = contract.mirror
    if mirror is not None and len(mirror.order) != contract.spec.control_dim:
        raise WeightsError(
            f"{source}: a mirror of {len(mirror.order)} controls", f"{contract.spec.control_dim}",
            "export the bundle again",
        )  # fmt: skip
    return contract


def search_of(contract: Contract) -> Optimizer:
    """The search that a contract names.

    Raises:
        ConfigError: an unknown search or option, or a value out of range.
    """
    if contract.optimizer not in OPTIMIZERS:
        raise unknown("optimiser", contract.optimizer, OPTIMIZERS)
    return build(OPTIMIZERS[contract.optimizer], contract.options, "options")


def read_contract(folder: Path) -> tuple[Contract, dict[str, Any]]:
    """Contract and manifest of a bundle, every file's hash verified.

    Raises:
        WeightsError: a file missing or altered by a single bit, or another contract version.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder, KIND)
        contract = parse(read_json(folder / CONTRACT), str(folder / CONTRACT))
    except DataError as error:
        raise WeightsError(
            f"cannot use the bundle {folder}: {error.received}", error.accepted,
            "copy the bundle again or export it again",
        ) from error  # fmt: skip
    if manifest["parents"] != dict(contract.spec.hashes):
        raise WeightsError(
            f"{folder}: contract and manifest name different parents", "the same",
            "copy the bundle again or export it again",
        )  # fmt: skip
    return contract, manifest


def check_graph(contract: Contract, name: str, session: Any, source: Path) -> None:
    """Compare a contract with what a graph itself says: its own copy of the contract, its shapes.

    Args:
        session: onnxruntime's, of the graph ``name``.

    Raises:
        WeightsError: they differ; so the bounds, periods and sizes of a contract cannot be edited.
    """
    try:
        inside = parse(parse_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY]), "it")
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"{source} carries no contract", "a graph of a bundle", "export the bundle again"
        ) from error
    if inside != contract:
        names = [f.name for f in fields(Contract)]
        differ = [name for name in names if getattr(inside, name) != getattr(contract, name)]
        raise WeightsError(
            f"{source} carries another contract than its folder (differs in: {', '.join(differ)})",
            "the contract it was exported with", "copy the bundle again or export it again",
        )  # fmt: skip
    for side, nodes in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        wanted = contract.graphs.get(name, {}).get(side, {})
        found = {node.name: _shaped(node.type, node.shape) for node in nodes}
        # A letter in the contract is free at run time, as is a name in the graph.
        if {k: _shaped(v[0], v[1:]) for k, v in wanted.items()} != found:
            raise WeightsError(
                f"{source} has {side} {found}", f"those of the contract: {wanted}",
                "copy the bundle again or export it again",
            )  # fmt: skip


def _shaped(dtype: str, shape: Any) -> tuple[str, tuple[Any, ...]]:
    """Type and sizes in one form: ``tensor(float)`` is float32, whatever is no number is free."""
    names = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    sizes = tuple(size if isinstance(size, int) else None for size in shape)
    return names.get(dtype, dtype), sizes
