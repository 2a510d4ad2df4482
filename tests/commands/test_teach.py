"""What ``robot-wm teach`` refuses before anything is made."""

from pathlib import Path

import pytest

from planning.commands import teach
from robot_wm.cli.main import Session, compose
from robot_wm.core.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("pairs.offset=0", r"pairs\.offset=0"),  # a pair of the scene's own has no recording
        ("teach.families=[official,gentle]", "gentle"),
        ("teach.also=[nowhere-0]", "nowhere-0"),
    ],
)
def test_what_cannot_be_taught(
    word: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=told):
        teach.run(Session(compose([word]), (word,)))
    assert not any(tmp_path.iterdir())
