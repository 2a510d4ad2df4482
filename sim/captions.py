"""What a sentence says of a scene, and sentences that say it: templates times synonyms.

Two things can be said of the last body of a pose (what is pushed, or the robot where there is
nothing else): in which ninth of the picture it is, and, where it has an angle, which way up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robot_wm.core.errors import ConfigError, InputError
from sim.tasks.base import Predicate, Task, wrap

if TYPE_CHECKING:
    from sim.env import GoalEnv

ANY = -1  # nothing is said of it
WORDS = "words"  # predicate: all that can be said of a pose can be said of the goal's
# Words of each ninth, from the lower left to the upper right.
ROWS: tuple[tuple[str, ...], ...] = (
    ("lower", "bottom", "low", "lowest", "bottommost", "south", "lowermost", "southern"),
    ("middle", "central", "mid", "halfway", "medium", "centered", "midway", "intermediate"),
    ("upper", "top", "high", "highest", "topmost", "north", "uppermost", "northern"),
)  # fmt: skip
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("left", "left side", "left part", "leftmost part", "left edge", "west", "left-hand side",
     "western part"),
    ("center", "middle", "central part", "middle part", "centre line", "mid part", "centre",
     "central area"),
    ("right", "right side", "right part", "rightmost part", "right edge", "east",
     "right-hand side", "eastern part"),
)  # fmt: skip
# Of an angle of 0, 90, 180 and 270 degrees.
WAYS: tuple[tuple[str, ...], ...] = (
    ("upright", "the right way up", "with its stem pointing down", "standing up", "not rotated",
     "with its stem at the bottom", "in its normal position", "standing", "with its leg down"),
    ("turned a quarter to the left", "with its stem pointing right", "tipped over to the left",
     "rotated 90 degrees counterclockwise", "rotated a quarter counterclockwise",
     "with its stem on the right", "lying on its left side", "with its leg to the right"),
    ("upside down", "turned over", "with its stem pointing up", "rotated 180 degrees", "flipped",
     "inverted", "with its stem at the top", "turned half way round", "on its head",
     "with its leg up"),
    ("turned a quarter to the right", "with its stem pointing left", "tipped over to the right",
     "rotated 90 degrees clockwise", "rotated a quarter clockwise", "with its stem on the left",
     "lying on its right side", "with its leg to the left"),
)  # fmt: skip
VERBS = (
    "move {what} to {where}", "push {what} into {where}", "bring {what} to {where}",
    "slide {what} to {where}", "take {what} to {where}", "get {what} over to {where}",
    "I want {what} in {where}", "{what} goes to {where}", "{what} belongs in {where}",
    "drive {what} towards {where}", "put {what} in {where}", "{what} should be in {where}",
    "place {what} at {where}",
)  # fmt: skip
TURNS = (
    "turn {what} {way}", "make {what} {way}", "rotate {what} until it is {way}",
    "get {what} {way}", "I want {what} {way}", "leave {what} {way}", "{what} should be {way}",
    "set {what} {way}",
)  # fmt: skip
# More verbs than these are held out, as are the last synonyms of every list.
TRAINED_VERBS, TRAINED_TURNS, UNSEEN_WORDS = 10, 6, 2
# Of (ninth, way): said of no training picture together, only one by one.
HELD_OUT = frozenset({(0, 2), (2, 0), (6, 1), (8, 3)})


@dataclass(frozen=True)
class Meaning:
    """What a sentence says.

    Attributes:
        place: ninth of the picture, row by row from the lower left, or :data:`ANY`.
        way: quarter turns to the left, or :data:`ANY`.
    """

    place: int = ANY
    way: int = ANY

    def holds(self, true: np.ndarray) -> np.ndarray:
        """Of which scenes it is true: bool ``[N]`` of ``(place, way)`` ``[N, 2]``."""
        said = np.array([self.place, self.way])
        return np.asarray(((said == ANY) | (said == true)).all(axis=-1))


class Speaker:
    """Sentences about the scenes of one task.

    Raises:
        ConfigError: a task whose pictures are no square of places.
    """

    def __init__(self, task: Task) -> None:
        bodies: dict[str, dict[str, list[int]]] = {}
        for i, entry in enumerate(task.pose_entries):
            if entry.kind in ("position", "angle"):
                bodies.setdefault(entry.body, {}).setdefault(entry.kind, []).append(i)
        placed = [b for b, found in bodies.items() if len(found.get("position", ())) == 2]
        if not placed or task.extent is None:
            raise ConfigError(
                f"goals in words for {task.name}", "a task with `extent` and places [m]",
                "order a picture or a pose",
            )  # fmt: skip
        body = placed[-1]
        self.at = bodies[body]["position"]
        self.turn = bodies[body].get("angle", [])[:1]
        self.extent = task.extent
        self.names = ("the T", "the T-shaped block", "the block") if self.turn else (f"the {body}",)

    def true(self, poses: np.ndarray) -> np.ndarray:
        """``(place, way)`` of poses ``[N, K]``, int ``[N, 2]``; a way of 0 where none is."""
        low, high = self.extent
        ninths = np.clip((poses[:, self.at] - low) / (high - low) * 3, 0, 2).astype(int)
        way = np.zeros(len(poses), int)
        if self.turn:
            way = np.rint(wrap(poses[:, self.turn[0]]) / (np.pi / 2)).astype(int) % 4
        return np.stack([3 * ninths[:, 1] + ninths[:, 0], way], 1)

    def meaning(self, pose: np.ndarray) -> Meaning:
        """All that can be said of a pose ``[K]``."""
        place, way = self.true(pose[None])[0].tolist()
        return Meaning(place, way if self.turn else ANY)

    def meanings(self) -> list[Meaning]:
        """Everything that can be said."""
        ways = (ANY, *range(4)) if self.turn else (ANY,)
        every = [Meaning(place, way) for place in (ANY, *range(9)) for way in ways]
        return [meaning for meaning in every if meaning != Meaning()]

    def trained_meanings(self) -> list[Meaning]:
        """The same without the combinations that are held out."""
        return [m for m in self.meanings() if (m.place, m.way) not in HELD_OUT]

    def say(
        self, meaning: Meaning, rng: np.random.Generator, new_form: bool = False,
        new_words: bool = False,
    ) -> str:  # fmt: skip
        """A sentence that says it.

        Args:
            new_form, new_words: by a template, by synonyms that are never trained on.
        """

        def one(words: Sequence[str]) -> str:
            own = words[-UNSEEN_WORDS:] if new_words else words[:-UNSEEN_WORDS]
            return str(own[int(rng.integers(len(own)))])

        def pick(templates: Sequence[str], trained: int) -> str:
            own = templates[trained:] if new_form else templates[:trained]
            return str(own[int(rng.integers(len(own)))])

        what = self.names[int(rng.integers(len(self.names)))]
        row, column = divmod(meaning.place, 3)
        where = f"the {one(ROWS[row])} {one(COLUMNS[column])}" if meaning.place != ANY else ""
        way = one(WAYS[meaning.way]) if meaning.way != ANY else ""
        if not where:
            return pick(TURNS, TRAINED_TURNS).format(what=what, way=way)
        sentence = pick(VERBS, TRAINED_VERBS).format(what=what, where=where)
        return f"{sentence}, {way}" if way else sentence

    def understand(self, sentence: str) -> Meaning:
        """What a sentence says, by the words above, those held out included.

        Raises:
            InputError: it has none of them.
        """
        text = f" {re.sub('[^a-z0-9 -]', ' ', sentence.lower())} "
        way, text = _found(text, WAYS) if self.turn else (ANY, text)
        row, _ = _found(text, ROWS)
        column, _ = _found(text, COLUMNS)
        if row == column == way == ANY:
            known = sorted({w for words in (*ROWS, *COLUMNS, *WAYS) for w in words})
            raise InputError(
                f"the sentence {sentence!r}", f"some of the words {', '.join(known)}",
                "say where the goal is, or which way up",
            )  # fmt: skip
        # Of a row or a column alone the other is the middle.
        named = (row, column) != (ANY, ANY)
        place = 3 * (1 if row == ANY else row) + (1 if column == ANY else column)
        return Meaning(place if named else ANY, way)


def _found(text: str, lists: Sequence[Sequence[str]]) -> tuple[int, str]:
    """Which list the longest known word of a text is of, and the text without it."""
    known = [(word, i) for i, words in enumerate(lists) for word in words if f" {word} " in text]
    if not known:
        return ANY, text
    # Of rows and columns, an end says more than the middle: "the lower middle".
    word, index = max(known, key=lambda item: (len(lists) > 3 or item[1] != 1, len(item[0])))
    return index, text.replace(f" {word} ", "  ", 1)


def vocabulary_sha256() -> str:
    """Hash of everything that can be said: what was aligned with other sentences is another."""
    said = (ROWS, COLUMNS, WAYS, VERBS, TURNS, TRAINED_VERBS, TRAINED_TURNS, UNSEEN_WORDS)
    return hashlib.sha256(repr((*said, sorted(HELD_OUT))).encode()).hexdigest()


def said_alike(task: Task) -> dict[str, Predicate]:
    """The predicate :data:`WORDS` of a task whose scenes can be put in words."""
    try:
        speaks = Speaker(task)
    except ConfigError:
        return {}

    def alike(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return speaks.meaning(goal).holds(speaks.true(poses[1:]))

    return {WORDS: alike}


def scenes(env: GoalEnv, count: int, seed: int) -> Mapping[str, np.ndarray]:
    """Pictures of random scenes and what is true of them.

    Returns:
        ``frames`` uint8 ``[N, height, width, 3]`` and ``true`` int ``[N, 2]``.
    """
    rng, frames, poses = np.random.default_rng(seed), [], []
    for _ in range(count):
        obs, info = env.reset(seed=int(rng.integers(2**31)))
        frames.append(obs["image"])
        poses.append(info["pose"])
    return {"frames": np.stack(frames), "true": Speaker(env.task).true(np.stack(poses))}
