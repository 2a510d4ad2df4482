"""What a stress test counts, and its verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class StressReport:
    """What happened.

    Attributes:
        ticks, episodes, stops: control steps; goals begun; how often the controller stopped.
        injected, reported: how often each thing went wrong, and was told while it lasted.
        unreported: things gone wrong of which the controller said nothing, but for a frozen camera
            while the robot stands still.
        outside: commands beyond bounds, rate limit or workspace, or not finite.
        raised: ticks that raised an error.
        slow: ticks longer than promised; longest: of them all [s], without the time in which other
            processes had the core.
        mixed: images planned from that were not those given, agents used by two threads at once,
            refused goals that were taken, and faults told but not counted.
        moved: largest change of an action's entry from one command to the next.
        memory_mb: peak resident memory of the process after a tenth of the ticks and at the end
            [MiB].
    """

    ticks: int = 0
    episodes: int = 0
    stops: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    reported: Counter[str] = field(default_factory=Counter)
    unreported: int = 0
    outside: int = 0
    raised: int = 0
    slow: int = 0
    longest: float = 0.0
    mixed: int = 0
    moved: float = 0.0
    memory_mb: tuple[float, float] = (0.0, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain types, the verdict among them."""
        # Not dataclasses.asdict: it would count the counters' items.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {name: dict(sorted(values[name].items())) for name in ("injected", "reported")}
        return {**values, "memory_mb": list(self.memory_mb), "passed": self.passed}

    @property
    def broken(self) -> int:
        """How often the promise was broken."""
        return self.outside + self.raised + self.slow + self.mixed + self.unreported

    @property
    def passed(self) -> bool:
        """Nothing outside the promise, memory flat within 5 %."""
        early, late = self.memory_mb
        return not self.broken and late <= 1.05 * early
