"""Scripted behaviours that make the data: expert, noisy expert, weak and random.

They see the privileged pose; planners never do. Each keeps a goal of its own and draws a new one
when it is reached, so an episode holds several tasks.
"""

from __future__ import annotations

from robot_wm.errors import ConfigError
from sim.behaviours.base import Behaviour, RandomBehaviour
from sim.behaviours.push_t import PushTCorrector, PushTExpert, PushTWeak
from sim.behaviours.reacher import ReacherExpert
from sim.behaviours.two_room import TwoRoomExpert, TwoRoomNoisy

BEHAVIOURS: dict[str, dict[str, type[Behaviour]]] = {
    "push_t": {
        "expert": PushTExpert,
        "weak": PushTWeak,
        "random": RandomBehaviour,
        "corrector": PushTCorrector,
    },
    "two_room": {"expert": TwoRoomExpert, "noisy": TwoRoomNoisy, "random": RandomBehaviour},
    "reacher": {"expert": ReacherExpert, "random": RandomBehaviour},
}


def make_behaviour(task: str, name: str, noise: float = 0.0) -> Behaviour:
    """Build a behaviour.

    Raises:
        ConfigError: no such behaviour for this task.
    """
    if name not in BEHAVIOURS.get(task, {}):
        known = {t: sorted(b) for t, b in BEHAVIOURS.items()}
        raise ConfigError(f"behaviour {name!r} of task {task!r}", str(known), "name one of these")
    return BEHAVIOURS[task][name](task, noise)
