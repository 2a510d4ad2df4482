"""A MuJoCo scene behind a socket, in real time: what a robot looks like to a planner.

    python examples/robot.py two_room          # waits for a planner
    python examples/drive.py two_room          # in another terminal

The scene runs at its control rate and waits for nobody. Once connected it says what it is (height
and width of its pictures, numbers in an action, control period), and sends the goal image, then,
every control period, a time stamp and a camera frame. Whatever action arrived last is applied, kept
in the picture; where none has arrived for a whole period, the robot holds. The episode ends where
the goal is reached; otherwise it says so and exits 1.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import time

import numpy as np

import sim
from robot_wm.core.errors import RobotWMError
from robot_wm.core.images import Size
from robot_wm.core.system.machine import PACKAGE

ROBOT, STAMP = struct.Struct("<HHHd"), struct.Struct("<d")


def newest_action(
    link: socket.socket, left: bytes, packed: struct.Struct
) -> tuple[np.ndarray | None, bytes]:
    """The last whole action among what has arrived, and the bytes that are not whole yet."""
    try:
        while data := link.recv(4096, socket.MSG_DONTWAIT):
            left += data
        raise ConnectionError("the planner has gone")
    except BlockingIOError:
        whole = len(left) // packed.size * packed.size
    if not whole:
        return None, left
    return np.array(packed.unpack(left[whole - packed.size : whole])), left[whole:]


def camera(task: str) -> Size:
    """Size of the pictures [px] that the shipped planner of a task sees; 64 where there is none."""
    contract = PACKAGE / "weights" / "bundles" / task / "contract.json"
    if not contract.exists():
        return 64
    size: Size = json.loads(contract.read_bytes())["spec"]["image_size"]
    return size


def main() -> int:
    """Serve one episode; 0 if its goal was reached, 1 if not, 2 without a scene or a planner."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("task", choices=sorted(sim.TASKS))
    arguments.add_argument("--port", type=int, default=5555)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--steps", type=int, default=300, help="control steps at most")
    arguments.add_argument("--size", type=int, help="of the camera image [px], as planned with")
    try:
        return serve(arguments.parse_args())
    except (RobotWMError, ConnectionError) as error:
        print(f"robot.py: {error}", file=sys.stderr)
        return 2


def serve(options: argparse.Namespace) -> int:
    """One episode."""
    env = sim.make(options.task, options.size or camera(options.task))
    packed = struct.Struct(f"<{env.spec.control_dim}f")
    goal, goal_info = env.reset(seed=options.seed + 1)
    obs, info = env.reset(seed=options.seed)
    poses, held, left, reached = [info["pose"]], 0, b"", False
    with socket.create_server(("127.0.0.1", options.port)) as server:
        print(f"waiting for a planner on port {options.port}", flush=True)
        link, _ = server.accept()
        with link:
            height, width, _ = goal["image"].shape
            link.sendall(ROBOT.pack(height, width, env.spec.control_dim, env.spec.control_dt))
            link.sendall(goal["image"].tobytes())
            due = time.monotonic()
            for _ in range(options.steps):
                link.sendall(STAMP.pack(time.monotonic()) + obs["image"].tobytes())
                due += env.spec.control_dt
                time.sleep(max(0.0, due - time.monotonic()))
                action, left = newest_action(link, left, packed)
                held += action is None
                wanted = np.zeros(env.spec.control_dim) if action is None else action
                obs, _, _, _, info = env.step(env.task.clip_to_workspace(info["pose"], wanted))
                poses.append(info["pose"])
                reached = bool(env.success("official", np.stack(poses), goal_info["pose"]).any())
                if reached:
                    break
    print(
        f"{len(poses) - 1} control steps at {1 / env.spec.control_dt:.0f} Hz, "
        f"{held} without an action, goal {'REACHED' if reached else 'MISSED'}"
    )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
