"""onnxruntime, set for a control loop."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path

import numpy as np
import onnxruntime as ort

from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.storage.provenance import usable_cores

CPU = "CPUExecutionProvider"
MOST = 1024  # threads


def run_session(
    session: ort.InferenceSession, inputs: dict[str, np.ndarray], source: str
) -> list[np.ndarray]:
    """All outputs of a graph.

    Raises:
        WeightsError: onnxruntime failed, e.g. out of memory or on a device that is gone.
    """
    try:
        outputs: list[np.ndarray] = session.run(None, inputs)
    except Exception as error:  # onnxruntime's own classes derive from nothing narrower
        raise WeightsError(
            f"onnxruntime failed in {source}: {error}", "inputs of the contract, a working device",
            "check memory and device; copy the bundle again or export it again",
        ) from error  # fmt: skip
    return outputs


def open_session(path: Path, provider: str = CPU, threads: int = 0) -> ort.InferenceSession:
    """An inference session set for a control loop.

    Threads do not spin: a spinning pool takes the core that the camera or the controller needs,
    and on few cores it slows the next call.

    Args:
        provider: execution provider; it must be there, nothing falls back silently.
        threads: of one operator; 0 takes as many as there are usable cores.

    Raises:
        ConfigError: a provider this machine does not have, or an impossible number of threads.
        WeightsError: a file that onnxruntime cannot load.
    """
    if isinstance(threads, bool) or not isinstance(threads, Integral) or not 0 <= threads <= MOST:
        raise ConfigError(
            f"threads = {threads!r}", f"0 (all usable cores) to {MOST}", "correct the number"
        )
    available = ort.get_available_providers()
    if provider not in available:
        raise ConfigError(
            f"execution provider {provider!r}", ", ".join(available),
            "name one of these, or install the onnxruntime build that has it",
        )  # fmt: skip
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads) or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # onnxruntime's own classes derive from nothing narrower
        raise WeightsError(
            f"onnxruntime cannot load {path}: {error}", "a graph of this bundle",
            "copy the bundle again or export it again",
        ) from error  # fmt: skip
    # onnxruntime falls back to the CPU where a provider's own libraries are missing.
    if session.get_providers()[0] != provider:
        raise ConfigError(
            f"execution provider {provider!r}, which could not be started",
            f"what this machine runs: {', '.join(session.get_providers())}",
            "install that provider's libraries, or name one of these",
        )
    return session
