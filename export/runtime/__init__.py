"""Running a bundle: NumPy and onnxruntime alone."""

from export.runtime.agent import SHIPPED, agent_of, load_agent
from export.runtime.planner import OnnxPlanner
from export.runtime.world_model import OnnxWorldModel

__all__ = ["SHIPPED", "OnnxPlanner", "OnnxWorldModel", "agent_of", "load_agent"]
