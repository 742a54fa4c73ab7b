"""The settings of the machine's samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_obs import SettingError, Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None), ("", None), ("0", None), ("Off", None), ("none", None), ("false", None), ("1", "auto"),
        (" AUTO ", "auto"), ("yes", "auto"), ("logs/load.jsonl", "logs/load.jsonl"), ("~/x", str(Path.home() / "x")),
    ],
)  # fmt: skip
def test_the_variable_says_where_samples_go(
    text: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        monkeypatch.setenv("CODEX_OBS_SYSTEM_METRICS", text)
    wanted = expected if expected in {None, "auto"} else str(tmp_path / str(expected))
    settings = Settings()
    assert (settings.system_metrics, settings.system_metrics_interval_s) == (wanted, 10.0)
    # Where it goes stays, whichever folder the program works in later.
    monkeypatch.chdir("/")
    assert settings.system_metrics == wanted


def test_an_argument_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_OBS_SYSTEM_METRICS", "auto")
    monkeypatch.chdir(tmp_path)
    assert Settings(system_metrics=None).system_metrics == "auto", "as of every setting, None is what was not given"
    assert Settings(system_metrics=False).system_metrics is None
    assert Settings(system_metrics=True).system_metrics == "auto"
    assert Settings(system_metrics="Auto").system_metrics == "auto"
    assert Settings(system_metrics=Path("a")).system_metrics == str(tmp_path / "a")
    for wrong in (3, b"x", "", " ", "a\0b"):
        with pytest.raises(SettingError, match="system_metrics"):
            Settings(system_metrics=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "expected"), [("0.1", 0.1), ("2", 2.0), ("0.09", None), ("0", None), ("-1", None)])
def test_the_interval_is_a_tenth_of_a_second_or_more(
    text: str, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_OBS_SYSTEM_METRICS_INTERVAL_S", text)
    if expected is not None:
        assert Settings().system_metrics_interval_s == expected
        return
    with pytest.raises(SettingError, match=r"0\.1 or more"):
        Settings()
    with pytest.raises(SettingError, match=r"0\.1 or more"):
        Settings(system_metrics_interval_s=float(text))
