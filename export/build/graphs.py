"""What is exported, as torch modules of pure tensor functions, and how they become ONNX files.

Letters: ``N`` candidates, ``H`` horizon, ``A`` action size of a block, ``Z`` latent size, ``I``
iterations, ``K`` drawn proposals. Actions are in the task's own unit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.build.external_weights import SharedWeights
from export.build.quantize import int8
from planning.agent.costs import Objective
from planning.optimizers.array_api import array_namespace
from planning.optimizers.base import Optimiser, Search, clip
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import sides
from robot_wm.core.storage.provenance import atomic_write
from robot_wm.world_models.jepa.model import JEPAWorldModel

OPSET = 20
Dims = tuple[str | int, ...]


@dataclass(frozen=True)
class Graph:
    """One file of a bundle.

    Attributes:
        name: stem of the file.
        module: what it computes.
        inputs, outputs: shapes by name; a letter is a size free at run time.
        dtypes: of the inputs that are not float32.
        least: smallest value of a letter, 2 where unnamed.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Dims]
    outputs: dict[str, Dims]
    dtypes: dict[str, torch.dtype]
    least: dict[str, int] = field(default_factory=dict)

    def example(self, sizes: dict[str, int]) -> tuple[Tensor, ...]:
        """Zeros of the right shapes, for tracing."""
        return tuple(
            torch.zeros(
                [sizes[d] if isinstance(d, str) else d for d in dims],
                dtype=self.dtypes.get(name, torch.float32),
            )
            for name, dims in self.inputs.items()
        )


class Encode(nn.Module):
    """Images uint8 ``[N, S, S, 3]`` to latents ``[N, Z]`` and novelty ``[N]``; each alone."""

    def __init__(self, model: JEPAWorldModel) -> None:
        super().__init__()
        self.encoder, self.network = model.encoder, model.network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tokens = self.encoder(images[:, None])
        return self.network.embed(tokens), self.network.novelty(tokens)


class StepCosts(nn.Module):
    """Rollout and comparison: ``actions [N, H, A]`` to costs ``[N, H]``."""

    def __init__(self, model: JEPAWorldModel) -> None:
        super().__init__()
        self.network, self.kind = model.network, model.cost

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, actions: Tensor
    ) -> Tensor:
        """See the class."""
        latents = self.network.predictor.rollout(z_prev, z, a_prev, actions)
        return self.network.costs(latents, goal, self.kind)


class Propose(nn.Module):
    """The learned actor: ``[M + K, H, A]`` plans within bounds."""

    def __init__(self, model: JEPAWorldModel) -> None:
        super().__init__()
        self.network = model.network
        self.register_buffer("low", torch.tensor(model.spec.action_low))
        self.register_buffer("high", torch.tensor(model.spec.action_high))

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        """See the class."""
        bounds = self.get_buffer("low"), self.get_buffer("high")
        return self.network.plans((z_prev, z, a_prev), goal, choice, noise, bounds)


class Planner(nn.Module):
    """Images in, block of actions out: encoder, proposals, rollouts and the whole search.

    The search is the optimiser's own code. Its first round is drawn apart, because the proposals
    take part in it; all others run in one ONNX loop, so that the number of iterations is the first
    size of ``noise`` at run time.
    """

    def __init__(self, model: JEPAWorldModel, optimiser: Optimiser, objective: Objective) -> None:
        super().__init__()
        if any(optimiser.count(i) != optimiser.candidates for i in range(optimiser.iterations)):
            raise ConfigError(
                f"{type(optimiser).__name__} with fewer candidates every round",
                "the same number of candidates in every round (icem: decay=1)",
                "set planner.options.decay=1 for export",
            )
        self.encode, self.step_costs = Encode(model), StepCosts(model)
        self.propose = Propose(model)
        self.optimiser, self.objective = optimiser, objective

    def forward(
        self,
        previous: Tensor,
        image: Tensor,
        goal: Tensor,
        action: Tensor,
        mean: Tensor,
        noise: Tensor,
        choice: Tensor,
        proposal_noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plan ``[H, A]``, its cost ``[]``, its step costs ``[H]``, the image's latent ``[Z]``."""
        latents, _ = self.encode(torch.stack([previous, image, goal]))
        # Copies: what an exported loop reads from outside must not share memory.
        z_prev, z, wanted = (latents[i : i + 1].clone() for i in range(3))
        before = action[None].clone()
        proposals = self.propose(z_prev, z, before, wanted, choice, proposal_noise)

        def cost(actions: Tensor) -> Tensor:
            steps = self.step_costs(z_prev, z, before, wanted, actions)
            total: Tensor = self.objective(steps, actions)
            return total

        search = self._search(cost, mean, noise, proposals)
        plan = self.optimiser.finish(array_namespace(noise), cost, search).actions
        steps = self.step_costs(z_prev, z, before, wanted, plan[None])
        return plan, self.objective(steps, plan[None])[0], steps[0], z[0]

    def _search(self, cost: Any, mean: Tensor, noise: Tensor, proposals: Tensor) -> Search:
        xp, opt = array_namespace(noise), self.optimiser
        low, high = self.propose.get_buffer("low"), self.propose.get_buffer("high")
        mean = clip(xp, mean, low, high)
        first = opt.begin(xp, cost, mean, None, low, high, noise[0], proposals)
        carried = [
            first.mean, first.std, first.best_actions, first.best_cost,
            *(() if first.kept is None else (first.kept,)),
        ]  # fmt: skip

        def more(i: Tensor, *state: Tensor) -> Tensor:
            return i < noise.shape[0]

        def body(i: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            kept = state[4] if len(state) > 4 else None
            search = Search(state[0], state[1], state[2], state[3], kept, None, None)
            drawn = noise.index_select(0, i.reshape(1))[0]
            new = opt.improve(xp, cost, search, low, high, drawn)
            rest = () if new.kept is None else (new.kept,)
            out = (new.mean, new.std, new.best_actions, new.best_cost, *rest)
            # A loop's state must keep its strides.
            return (i + 1, *(x.contiguous() for x in out))

        start = (torch.ones((), dtype=torch.int64), *(x.contiguous().clone() for x in carried))
        _, *state = torch.while_loop(more, body, start)
        return Search(state[0], state[1], state[2], state[3], None, None, None)


def graphs(
    model: JEPAWorldModel, optimiser: Optimiser, objective: Objective, horizon: int
) -> list[Graph]:
    """All graphs of a bundle."""
    sizes, spec = model.network.sizes, model.spec
    z, a, h = sizes.latent, sizes.action, horizon
    m = sizes.heads
    if horizon != sizes.horizon:
        raise ConfigError(
            f"horizon {horizon}", f"{sizes.horizon}, the proposals' horizon", "plan that far"
        )
    state: dict[str, Dims] = {"z_prev": (1, z), "z": (1, z), "a_prev": (1, a), "goal": (1, z)}
    image, chance = (*sides(spec.image_size), 3), {"choice": ("K",), "proposal_noise": ("K", h, a)}
    drawn: dict[str, Dims] = {"choice": ("K",), "noise": ("K", h, a)}
    u8 = torch.uint8
    return [
        Graph("encode", Encode(model), {"images": ("N", *image)},
              {"latents": ("N", z), "novelty": ("N",)}, {"images": u8}),
        Graph("step_costs", StepCosts(model), {**state, "actions": ("N", h, a)},
              {"costs": ("N", h)}, {}),
        Graph("propose", Propose(model), {**state, **drawn}, {"plans": (f"{m} + K", h, a)}, {}),
        Graph(
            "planner", Planner(model, optimiser, objective),
            {"previous": image, "image": image, "goal": image, "action": (a,), "mean": (h, a),
             "noise": ("I", "N", h, a), **chance},
            {"plan": (h, a), "cost": (), "step_costs": (h,), "latent": (z,)},
            {"previous": u8, "image": u8, "goal": u8},
            # Two samples beside the mean and the fewest proposals.
            {"N": max(m + 5, getattr(optimiser, "elites", 1) + 1)},
        ),
    ]  # fmt: skip


def write_onnx(
    graph: Graph,
    path: Path,
    metadata: Mapping[str, str],
    weights: SharedWeights,
    precision: str = "float32",
) -> None:
    """Trace and write one graph; sizes named by letters stay free.

    Args:
        metadata: stored in the file.
        weights: takes the large arrays; to be written beside the graphs.
        precision: of the matrices, see ``quantise.PRECISIONS``.
    """
    letters = {d for dims in graph.inputs.values() for d in dims if isinstance(d, str)}
    free = {d: torch.export.Dim(d.lower(), min=graph.least.get(d, 2)) for d in letters}
    shapes = tuple(
        {i: free[d] for i, d in enumerate(dims) if isinstance(d, str)} or None
        for dims in graph.inputs.values()
    )
    example = graph.example({d: 48 + 16 * i for i, d in enumerate(sorted(letters))})
    module = graph.module.eval().requires_grad_(False)
    with warnings.catch_warnings():
        # Torch tells what it does with array_api_compat's caches; parity tells whether it mattered.
        warnings.simplefilter("ignore")
        # Strict: without it, sizes that meet inside a loop are silently fixed.
        traced = torch.export.export(module, example, dynamic_shapes=shapes, strict=True)
        program = torch.onnx.export(
            traced,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto.graph)
    if precision == "int8":
        proto = int8(proto)
    else:
        _halve(proto.graph)
    weights.take(proto.graph)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    atomic_write(path, proto.SerializeToString(deterministic=True))


def _strip(graph: Any) -> None:
    """Drop the tracer's notes (stack traces with paths of this machine, half of the file)."""
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)


def _halve(graph: Any) -> None:
    """Store matrices that half precision holds exactly in it; sessions fold the casts away.

    Shipped weights are rounded to half precision, so nothing is lost and files are half as long.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        full = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = full.astype(np.float16)
        if np.array_equal(half.astype(np.float32), full):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _stable_sort(x: Any, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """TopK of everything: between equals ONNX takes the lower index, which is what stable means."""
    from onnxscript import opset20

    op: Any = opset20

    count = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]), axis=0)
    return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)
