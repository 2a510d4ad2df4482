"""Drive a robot that is a socket (``examples/robot.py``) with an exported planner; no torch.

    python examples/drive.py push_t      # or the folder of a bundle

The robot says first what it is: height and width of its pictures [px], numbers in an action,
control period [s]. Where that is not what the bundle was exported for, nothing moves. Then one tick
of the controller per frame; the action is sent first, then it thinks until the next frame.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from export.robot.controller import Controller, Frame, Limits
from export.robot.episode_logger import RobotLog
from export.runtime import SHIPPED, load_agent
from export.runtime.bundle_spec import read_contract
from robot_wm.core.errors import ConfigError, RobotWMError
from robot_wm.core.protocols import ModelSpec

ROBOT, STAMP = struct.Struct("<HHHd"), struct.Struct("<d")


def receive(link: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; none when the robot has gone."""
    parts = b""
    while len(parts) < size:
        part = link.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def check_robot(said: bytes, spec: ModelSpec) -> None:
    """Refuse a robot that the bundle was not exported for.

    Raises:
        ConfigError: other pictures, actions or another period; or the robot has gone.
    """
    wanted = (spec.image_height, spec.image_width, spec.control_dim, spec.control_dt)
    words = "pictures of {1}x{0} pixels, actions of {2} numbers, one every {3:g} s"
    found = ROBOT.unpack(said) if said else (0, 0, 0, 0.0)
    if found != wanted:
        raise ConfigError(
            f"a robot with {words.format(*found)}" if said else "a robot that hung up at once",
            f"for {spec.task} {words.format(*wanted)}",
            "set its camera to that size (examples/robot.py: --size), or take a bundle of its task",
        )


def main() -> int:
    """Plan until the robot hangs up; 2 where bundle and robot do not fit together."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("bundle", help="a folder, or the name of a task whose bundle is shipped")
    arguments.add_argument("--port", type=int, default=5555)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--log", type=Path, help="keep what was seen and done, as a data set")
    try:
        drive(arguments.parse_args())
    except RobotWMError as error:
        print(f"drive.py: {error}", file=sys.stderr)
        return 2
    return 0


def drive(options: argparse.Namespace) -> None:
    """One episode."""
    folder = SHIPPED / options.bundle
    folder = folder if folder.is_dir() else Path(options.bundle)
    spec = read_contract(folder)[0].spec
    shape, period = (spec.image_height, spec.image_width, 3), spec.control_dt
    packed = struct.Struct(f"<{spec.control_dim}f")
    # What fits into half a period on this machine, and no further round once that is over.
    half = 0.5 * period
    agent = load_agent(folder, options.threads, budget=half, deadline=half, delay=1)
    limits = Limits(
        max_change=2.0,
        noop_action=(0.0,) * spec.control_dim,
        max_frame_age_s=2 * period,
        max_plan_time_s=period,
    )
    log = RobotLog(options.log, spec) if options.log else None
    controller = Controller(agent, limits, log=log)
    with socket.create_connection(("127.0.0.1", options.port)) as link:
        check_robot(receive(link, ROBOT.size), spec)
        goal = np.frombuffer(receive(link, int(np.prod(shape))), np.uint8).reshape(shape)
        controller.start(goal)
        while message := receive(link, STAMP.size + int(np.prod(shape))):
            # Both ends read one machine's clock: frames that queued up here are seen to be stale.
            (stamp,) = STAMP.unpack_from(message)
            image = np.frombuffer(message, np.uint8, offset=STAMP.size).reshape(shape)
            command = controller.tick(time.monotonic(), Frame(image, stamp))
            with contextlib.suppress(ConnectionError):  # it may have hung up after this frame
                link.sendall(packed.pack(*command.action))
            controller.think()
    if log is not None:
        log.end()
    faults = ", ".join(f"{fault} {count}" for fault, count in controller.faults.items())
    print(f"{controller.ticks} control steps, faults: {faults or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
