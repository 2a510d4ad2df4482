"""Behaviours by task and name."""

from __future__ import annotations

from robot_wm.core.errors import ConfigError
from sim.policies.base import Behaviour, RandomBehaviour
from sim.policies.push_t import PushTExpert, PushTWeak
from sim.policies.reacher import ReacherExpert
from sim.policies.two_room import TwoRoomExpert, TwoRoomNoisy

BEHAVIOURS: dict[str, dict[str, type[Behaviour]]] = {
    "push_t": {"expert": PushTExpert, "weak": PushTWeak, "random": RandomBehaviour},
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
