"""Which claims are measured, and at which values of what each of them varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, Fraction, Positive, Within
from robot_wm.core.errors import ConfigError

KICKED = "_kicked"
MEASURED = (4, 5, 7, 8, 10)  # in the ledger; the others have commands of their own


@dataclass(frozen=True)
class ClaimsSettings:
    """Measurements for single claims of the ledger, each at several values of what it varies.

    Attributes:
        which: claims by their number, in the order in which they are measured.
        momenta: 4: of the moving average, from the first step to the last; 0 is the encoder itself.
        codes: 5: numbers of latent actions.
        temperatures: 7: of the dream in which a controller evolves.
        dreams: 7: of each pair, by which it is scored.
        depths: 8: layers of the predictor that is told how a picture was changed.
        nuisance: 8: factor of varied episodes that is read from the features, a number.
        scenes: 10: a task with kicks and the same one without, e.g. ``two_room_kicked``,
            ``two_room``.

    Raises:
        ConfigError: a claim that is measured otherwise; a value twice, or none.
    """

    which: tuple[int, ...] = MEASURED
    momenta: tuple[Fraction, ...] = (0.0, 0.9, 0.99, 0.996, 0.9995)
    codes: tuple[Annotated[int, Within(2, 4096)], ...] = (2, 4, 8, 16, 64)
    temperatures: tuple[Positive, ...] = (0.5, 0.8, 1.0, 1.2, 1.5)
    dreams: Count = 16
    depths: tuple[Annotated[int, Within(1, 256)], ...] = (1, 2, 4, 8)
    nuisance: str = "light"
    scenes: tuple[str, ...] = ("two_room_kicked", "two_room")

    def __post_init__(self) -> None:
        for name in ("which", "momenta", "codes", "temperatures", "depths", "scenes"):
            values = getattr(self, name)
            if not values or len({*values}) < len(values):
                raise ConfigError(
                    f"claims.{name} = {list(values)}", "one value or more, each once",
                    "correct the list",
                )  # fmt: skip
        kicked, *others = self.scenes
        if [kicked] != [f"{name}{KICKED}" for name in others]:
            raise ConfigError(
                f"claims.scenes = {list(self.scenes)}", f"a task whose name ends {KICKED}, and the "
                "same one without kicks", "e.g. claims.scenes=[two_room_kicked,two_room]",
            )  # fmt: skip
        if wrong := sorted({*self.which} - {*MEASURED}):
            raise ConfigError(
                f"claims.which = {list(self.which)}", f"some of {list(MEASURED)}",
                f"leave {', '.join(map(str, wrong))} out: docs/claims.md names what measures it",
            )  # fmt: skip
