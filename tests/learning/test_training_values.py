"""Values with which nothing can be learnt or recorded are refused where they are given."""

import math
from functools import partial

import pytest

from planning.evaluation.rollout_collection import PracticeConfig
from robot_wm.core.errors import ConfigError
from robot_wm.pretraining.trainer import PretrainConfig
from robot_wm.world_models.jepa.training.config import TrainConfig
from sim.collection.collect import CollectConfig, Mix

TRAIN = partial(TrainConfig, "x")
COLLECT = partial(CollectConfig, "push_t", "x", 2, 10, (Mix("random", 1.0),))
BAD = [
    *((TRAIN, change) for change in (
        {"clip": 0}, {"lr": -1}, {"lr": math.nan}, {"lr": math.inf}, {"ema": 1.0}, {"seed": -1},
        {"threads": 0}, {"window": 3}, {"horizon": 0}, {"batch": 1}, {"eval_every": 0},
        {"checkpoint_every": 0}, {"dataset_weights": (0.0, 0.0)}, {"dataset_weights": (math.nan,)},
        {"steps": True},
        {"steps": 1.5}, {"context_dropout": 2}, {"rollout": ()}, {"rollout": (0.0, 0.0)},
        {"dynamics_rollout": (0.0,)}, {"device": "gpu"}, {"reconstructed": 65},
        {"interpolation": 1.0},
        {"embedding_frames": 257},
    )),
    *((PretrainConfig, change) for change in (
        {"clip": 0}, {"lr": 0}, {"batch": 1}, {"steps": 0}, {"threads": -1}, {"log_every": -1},
        {"dataset_weights": {"nominal": -1.0}}, {"block": 0}, {"clips_per_episode": 0},
        {"warmup": 2},
        {"device": "tpu"}, {"seed": -1}, {"monitor_every": -1},
    )),
    *((COLLECT, change) for change in (
        {"frame_every": 0}, {"episodes_per_shard": 0}, {"seed": -1}, {"image_size": 0},
        {"workers": 0}, {"frame_every": 11},
    )),
    *((partial(Mix, "random"), change) for change in (
        {"share": -1}, {"share": math.nan}, {"share": 1.0, "noise": ()},
        {"share": 1.0, "noise": (-0.1,)},
    )),
    *((PracticeConfig, change) for change in (
        {"noise": ()}, {"noise": (math.nan,)}, {"episodes": 0}, {"seed": -1}, {"workers": 0},
    )),
]  # fmt: skip


@pytest.mark.parametrize(("make", "change"), BAD, ids=str)
def test_impossible_values_are_refused_by_name(make, change) -> None:
    with pytest.raises(ConfigError, match=next(reversed(change))):
        make(**change)
