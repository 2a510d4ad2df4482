"""Eight-bit matrices for a graph (dynamic quantisation: activations are scaled as they come)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

PRECISIONS = ("float32", "int8")
QUANTIZED = ("step_costs",)  # encoding gains nothing from it and loses most (docs/log.md)


def int8(proto: Any) -> Any:
    """The model with every constant matrix as int8, a scale per column.

    Args:
        proto: an ONNX model whose matrices are float32 and inside the file.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Shapes told for intermediate results name what quantisation replaces.
    del proto.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, str(source))
        quantize_dynamic(
            source, target, per_channel=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )  # fmt: skip
        made = onnx.load(str(target))
    del made.metadata_props[:]  # the quantiser's own
    return made
