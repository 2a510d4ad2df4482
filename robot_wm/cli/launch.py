"""Running a command through Hydra: once, or once for each combination of a sweep.

Every run leaves its resolved configuration and its overrides in ``.hydra/`` below the storage's
``runs/``; the current folder stays as it is. Sweepers and launchers are Hydra's own, and those of
its plugins.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from robot_wm.cli.compose import Session, compose, hydra_of, plain, settings_of, to_hydra
from robot_wm.cli.registry import COMMANDS, check_needs
from robot_wm.core.instantiate import locate
from robot_wm.core.parallel import use_launcher
from robot_wm.core.storage.atomic_io import check_storage
from robot_wm.core.storage.provenance import atomic_write
from robot_wm.core.system.machine import use_threads


def job(command: str, config: Any) -> int:
    """One run, in this process or in whichever a launcher starts.

    Args:
        config: composed by Hydra (``omegaconf.DictConfig``).

    Returns:
        The command's exit code.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    settings = settings_of(plain(config))
    if hydra.mode == RunMode.MULTIRUN:
        settings.check()
    use_launcher(settings.launcher)
    use_threads(settings.threads)  # here alone, and where a worker begins
    saved = Path(hydra.runtime.output_dir) / str(hydra.output_subdir or ".hydra") / "config.yaml"
    atomic_write(saved, OmegaConf.to_yaml(config, resolve=True))
    run = locate(f"{COMMANDS[command].target}:run")
    return int(run(Session(settings, tuple(hydra.overrides.task))) or 0)


def run(command: str, overrides: Sequence[str]) -> int:
    """One run of a command whose settings are checked already.

    Raises:
        StorageError: it could write nothing; Hydra would be the first to try.
    """
    check_storage()
    with hydra_of(command, overrides) as hydra:
        raised: list[Exception] = []

        def once(config: Any) -> int:
            try:
                return job(command, config)
            except (
                Exception
            ) as error:  # of any kind: Hydra would add lines of its own to the message
                raised.append(error)
                return 1

        done = hydra.run("config", once, to_hydra(overrides), False)
    if raised:
        raise raised[0]
    return int(done.return_value)


def sweep(command: str, overrides: Sequence[str], dry: bool = False) -> int:
    """A run for each combination of the values that overrides name.

    Args:
        dry: only check the combinations and print them.

    Returns:
        The largest exit code.

    Raises:
        ConfigError: some combination is impossible; none has run then, where the sweeper is Hydra's
            own and the combinations are therefore known.
    """
    words = to_hydra(overrides, sweep=True)
    for combination in combinations(command, words):
        settings = compose(combination)
        check_needs(command, settings.method, settings.backend)
        settings.check()
        if dry:
            print(" ".join(combination))
    if dry:
        return 0
    check_storage()
    with hydra_of(command, overrides) as hydra:
        done = hydra.multirun("config", partial(job, command), words, False)
    return max((int(one.return_value) for batch in done or () for one in batch), default=0)


def combinations(command: str, words: Sequence[str]) -> list[list[str]]:
    """Overrides of every run that Hydra's own sweeper will make; nothing for other sweepers."""
    with hydra_of(command, words) as hydra:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.types import RunMode

        config = hydra.compose_config("config", [*words], RunMode.MULTIRUN)
        if not str(config.hydra.sweeper._target_).endswith(f".{BasicSweeper.__name__}"):
            return []
        parsed = OverridesParser.create(hydra.config_loader).parse_overrides([*words])
        return list(BasicSweeper.split_arguments(parsed, None)[0])


def show(overrides: Sequence[str], part: str, package: str | None, resolve: bool) -> None:
    """Print the configuration as YAML: ``job``, ``hydra`` or ``all`` of it."""
    with hydra_of("show", overrides) as hydra:
        hydra.show_cfg("config", to_hydra(overrides), part, package, resolve)
