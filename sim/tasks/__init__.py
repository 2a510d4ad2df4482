"""The tasks on offer. A new one is one file, one MJCF scene and one line here."""

from sim.tasks.base import Task
from sim.tasks.push_t import PushT
from sim.tasks.reacher import Reacher
from sim.tasks.two_room import TwoRoom

TASKS: dict[str, type[Task]] = {task.name: task for task in (PushT, TwoRoom, Reacher)}
