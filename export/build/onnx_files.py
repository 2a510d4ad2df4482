"""How a graph becomes an ONNX file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.build.external_weights import SharedWeights
from export.build.graphs import Graph
from export.build.quantize import int8
from robot_wm.core.storage.provenance import atomic_write

OPSET = 20


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
    # Which operators it does not know is told for those of a package that is not needed, too.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
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
