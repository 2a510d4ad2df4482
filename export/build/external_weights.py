"""The arrays of a bundle's graphs, stored once: ``weights.bin`` beside them.

The whole planner contains the other graphs; with arrays inside every file a bundle would hold each
of them twice. onnxruntime finds the file next to a graph by itself, in a browser it is handed over.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from robot_wm.core.storage.provenance import atomic_write

NAME = "weights.bin"
LEAST = 1024  # bytes; smaller arrays stay in their graph, where shapes are inferred from some
ALIGN = 64  # bytes


class SharedWeights:
    """Collects arrays of several graphs."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._places: dict[bytes, int] = {}

    def take(self, graph: Any) -> None:
        """Move the large arrays of an ONNX graph here; equal ones share a place."""
        from onnx import TensorProto, numpy_helper

        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            data = array.astype(array.dtype.newbyteorder("<")).tobytes()
            if len(data) < LEAST:
                continue
            place = {"location": NAME, "offset": self._place(data), "length": len(data)}
            placed = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            placed.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                placed.external_data.add(key=key, value=str(value))
            tensor.CopyFrom(placed)

    def _place(self, data: bytes) -> int:
        key = hashlib.sha256(data).digest()
        if key not in self._places:
            self._blob += bytes(-len(self._blob) % ALIGN)
            self._places[key] = len(self._blob)
            self._blob += data
        return self._places[key]

    def write(self, folder: Path) -> None:
        """Write the file into the folder of the graphs.

        Raises:
            StorageError: the disk is full or not writable.
        """
        atomic_write(folder / NAME, bytes(self._blob))
