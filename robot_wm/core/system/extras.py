"""Which packages are installed, and which extra of this one brings those that are not."""

from __future__ import annotations

from importlib.util import find_spec

# what is imported -> (its name for pip, the extra that brings it)
EXTRAS = {
    "mujoco": ("mujoco", "sim"), "gymnasium": ("gymnasium", "sim"), "PIL": ("pillow", "sim"),
    "array_api_compat": ("array-api-compat", "sim"), "dm_control": ("dm-control", "sim"),
    "torch": ("torch", "train"), "safetensors": ("safetensors", "train"),
    "onnxruntime": ("onnxruntime", "robot"), "onnx": ("onnx", "export"),
    "onnxscript": ("onnxscript", "export"), "hydra": ("hydra-core", "cli"),
    "jinja2": ("jinja2", "cli"), "matplotlib": ("matplotlib", "cli"),
    "wordllama": ("wordllama", "language"), "ogbench": ("ogbench", "arms"),
    "fast_simplification": ("fast-simplification", "arms"), "cma": ("cma", "rivals"),
    "sklearn": ("scikit-learn", "rivals"),
}  # fmt: skip


def installed(module: str) -> bool:
    """Whether a module could be imported; nothing is."""
    try:
        return find_spec(module) is not None
    except ValueError:  # somebody put a module without a specification into sys.modules
        return True
