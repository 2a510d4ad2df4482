"""The tasks on offer. A new one is one file and one MJCF scene, named here or by an entry point.

A package that is installed beside this one adds a task with::

    [project.entry-points."robot_wm.tasks"]
    my_arm = "my_package.arm:MyArm"

See :class:`sim.tasks.base.Task` for what it must and may have; it is tried by
:func:`sim.tasks.conformance.check_task`.
"""

from collections.abc import Mapping

from robot_wm.core.registry import Registry
from sim.tasks.base import Task

TASKS: Mapping[str, type[Task]] = Registry(
    "robot_wm.tasks",
    {
        "push_t": "sim.tasks.push_t:PushT",
        "two_room": "sim.tasks.two_room:TwoRoom",
        "two_room_kicked": "sim.tasks.two_room_kicked:TwoRoomKicked",
        "reacher": "sim.tasks.reacher:Reacher",
        "ridge": "sim.tasks.ridge:Ridge",
        "jaco_reach": "sim.tasks.jaco:JacoReach",
        "jaco_push": "sim.tasks.jaco:JacoPush",
        "cube": "sim.tasks.cube:Cube",
    },
)
