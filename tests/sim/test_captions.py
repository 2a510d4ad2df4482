"""What sentences say, and that they are understood as they were meant."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError, InputError
from sim import make
from sim.captions import ANY, HELD_OUT, WORDS, Meaning, Speaker
from sim.tasks import TASKS


@pytest.fixture(params=["push_t", "two_room"])
def speaker(request) -> Speaker:
    return Speaker(TASKS[request.param]())


def test_every_sentence_is_understood_as_it_was_meant(speaker) -> None:
    rng = np.random.default_rng(0)
    for meaning in speaker.meanings():
        for form, words in itertools.product((False, True), repeat=2):
            for _ in range(6):
                assert speaker.understand(speaker.say(meaning, rng, form, words)) == meaning


def test_what_is_held_out_is_never_said_in_training() -> None:
    speaker, rng = Speaker(TASKS["push_t"]()), np.random.default_rng(0)
    said = {speaker.say(m, rng) for m in speaker.trained_meanings() for _ in range(50)}
    new = {speaker.say(m, rng, new_words=True) for m in speaker.meanings() for _ in range(20)}
    forms = {speaker.say(m, rng, new_form=True) for m in speaker.meanings() for _ in range(20)}
    assert not said & (new | forms)
    assert not any((m.place, m.way) in HELD_OUT for m in speaker.trained_meanings())
    assert len(speaker.meanings()) - len(speaker.trained_meanings()) == len(HELD_OUT)


def test_ninths_and_quarters_of_poses() -> None:
    speaker = Speaker(TASKS["push_t"]())
    poses = np.zeros((4, 7))
    poses[:, 2:4] = [(0.1, 0.1), (0.256, 0.1), (0.5, 0.5), (0.1, 0.4)]
    poses[:, 4] = [0.0, np.pi / 2 + 0.7, np.pi, 2 * np.pi - 0.7]
    np.testing.assert_array_equal(speaker.true(poses), [(0, 0), (1, 1), (8, 2), (6, 0)])
    assert Meaning(ANY, 2).holds(speaker.true(poses)).tolist() == [False, False, True, False]
    assert Meaning(8, 2).holds(speaker.true(poses)).tolist() == [False, False, True, False]
    assert not Meaning(8, 1).holds(speaker.true(poses)).any()


def test_a_goal_in_words_is_reached_where_the_same_can_be_said() -> None:
    env = make("push_t", draw_images=False)
    goal = np.zeros(7)
    goal[2:5] = (0.1, 0.1, np.pi)
    poses = np.repeat(goal[None], 4, axis=0)
    poses[2, 2] = 0.3  # another column
    poses[3, 4] = np.pi + 0.8  # another quarter
    assert Speaker(TASKS["push_t"]()).meaning(goal) == Meaning(0, 2)
    assert env.success(WORDS, poses, goal).tolist() == [True, False, False]
    assert WORDS in env.spec.families
    assert WORDS not in make("reacher", draw_images=False).spec.families


@pytest.mark.parametrize(
    ("sentence", "meaning"),
    [
        ("Move the T to the lower left, upside down!", Meaning(0, 2)),
        ("the upper middle please", Meaning(7)),
        ("push it to the right", Meaning(5)),
        ("stem with its stem pointing right", Meaning(ANY, 1)),
    ],
)
def test_sentences_of_others(sentence, meaning) -> None:
    assert Speaker(TASKS["push_t"]()).understand(sentence) == meaning


def test_without_a_known_word_nothing_is_understood() -> None:
    with pytest.raises(InputError, match="upside down"):
        Speaker(TASKS["push_t"]()).understand("fly to the moon")
    with pytest.raises(ConfigError, match="picture or a pose"):
        Speaker(TASKS["reacher"]())
