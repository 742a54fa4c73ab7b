"""Settings: argument over environment over default, and every spelling of off and of nonsense."""

from __future__ import annotations

import dataclasses
import pickle
import re
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codex_obs
from codex_obs._settings import environment
from codex_obs._settings.table import TABLE
from codex_obs.types import SettingsFields

MAX_BYTES = "CODEX_TRACKING_NDJSON_MAX_BYTES"
MAX_AGE = "CODEX_TRACKING_NDJSON_MAX_AGE_S"
BACKUP_COUNT = "CODEX_TRACKING_NDJSON_BACKUP_COUNT"
ROTATION = [(MAX_BYTES, "max_shard_bytes"), (MAX_AGE, "max_shard_age_s"), (BACKUP_COUNT, "backup_count")]
ROTATION.append(("CODEX_OBS_ARCHIVE_MAX_BYTES", "archive_max_bytes"))
BIGGEST = 2**63 - 1
LONGEST_S = float(BIGGEST // 10**6)

DEFAULTS = {
    "rank": None,
    "resume_step": None,
    "max_shard_bytes": 67108864,
    "max_shard_age_s": 86400.0,
    "backup_count": 5,
    "archive": "zstd",
    "archive_max_bytes": None,
    "max_unexported_shards": 64,
    "ring_bytes": 8 << 20,
    "max_block_s": 1.0,
    "overflow": "block",
    "fsync": "interval",
    "fsync_interval_s": 1.0,
    "file_mode": 0o600,
    "legacy": False,
    "flatten": False,
    "mlflow_tracking_uri": None,
    "mlflow_run_id": None,
    "mlflow_experiment_id": "0",
    "mlflow_experiment_name": None,
    "deferred": True,
    "disabled": False,
    "console": False,
    "system_metrics": None,
    "system_metrics_interval_s": 10.0,
    "prometheus_port": None,
    "destinations": (),
    "tensorboard": False,
    "wandb": None,
    "export_ranks": "main",
    "export_interval_s": 1.0,
    "export_flush_metrics": 50,
    "export_request_metrics": 1000,
    "export_request_bytes": 1_000_000,
    "export_timeout_s": 3.0,
}
# What they say may be a password, so errors do not repeat it.
SECRET_FIELDS = {"mlflow_tracking_uri"}

OFF_TEXTS = ["", " ", "\t", "0", "00", "+0", "-0", " 0 ", "-1", "-9", "-99999999999999999999999"]
NONE_TEXTS = ["None", "none", "NONE", "nOnE", " None "]
NONSENSE_TEXTS = [
    "64MiB", "1e6", "1E3", "inf", "-inf", "Infinity", "nan", "NaN", "1_000", "1,000", "0x10", "0b1", "0o17", "5 5",
    "--5", "+-5", "+ 5", "- 5", "-", "+", "true", "off", "null", "nil", "five", "5s", "5 bytes", "$5", "5;",
    "\N{ARABIC-INDIC DIGIT FIVE}", "\N{FULLWIDTH DIGIT FIVE}", "²", "½", "\u00a05", "5\u2003", "\x1b[31m5", "\udcff5",
    "5\udc80", "\N{ROMAN NUMERAL EIGHT}", "None5", "NoneNone", "=5", "(5)", "5%",
]  # fmt: skip


def label(value: object) -> str | None:
    """Name what pytest cannot: integers that Python does not print, and text of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"{value.bit_length()} bits"
    if isinstance(value, str) and len(value) > 80:
        return f"{value[-1]}, {len(value)} characters"
    return None


def resolved(field: str) -> object:
    return getattr(codex_obs.Settings(), field)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert dataclasses.asdict(codex_obs.Settings()) == DEFAULTS


def test_the_engine_has_the_defaults_of_the_table() -> None:
    limits = (Path(__file__).parents[2] / "rust/codex-obs-core/src/limits.rs").read_text()
    found = dict(re.findall(r"pub const DEFAULT_(\w+): \w+ = (.*);", limits))
    engine = {name.lower(): eval(text) for name, text in found.items() if name.lower() in TABLE}
    assert engine == {name: TABLE[name].default for name in engine}
    assert {"ring_bytes", "max_block_s", "max_shard_bytes", "backup_count", "file_mode"} <= engine.keys()


def test_settings_are_the_same_for_type_checkers_and_in_the_table() -> None:
    assert SettingsFields.__annotations__.keys() == TABLE.keys()
    assert {field.name for field in dataclasses.fields(codex_obs.Settings)} == TABLE.keys()


@pytest.mark.parametrize(("variable", "field"), ROTATION)
@pytest.mark.parametrize("text", OFF_TEXTS + NONE_TEXTS)
def test_every_spelling_of_off(variable: str, field: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    assert resolved(field) is None


@pytest.mark.parametrize(("variable", "field"), ROTATION)
@pytest.mark.parametrize("text", [*NONSENSE_TEXTS, "all5", "al l"])
def test_nonsense_in_a_rotation_variable_is_an_error_that_names_it(
    variable: str, field: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(codex_obs.SettingError) as caught:
        codex_obs.Settings()
    message = str(caught.value)
    assert message.startswith(f"{variable}=")
    assert "in digits such as" in message
    assert message.isascii()
    assert message.isprintable()
    assert getattr(codex_obs.Settings(**{field: 7}), field) == 7  # type: ignore[arg-type]  # the argument wins


@pytest.mark.parametrize(("variable", "field"), [ROTATION[0], ROTATION[2]])
@pytest.mark.parametrize("text", ["1.5", "5.", ".5", "1.0", "0.0", "-1.5"])
def test_a_decimal_point_is_for_the_age_only(
    variable: str, field: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(codex_obs.SettingError, match=variable):
        resolved(field)


@pytest.mark.parametrize("text", ["all", "ALL", "aLl", " all "])
def test_all_is_for_the_count_only(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKUP_COUNT, text)
    assert resolved("backup_count") == "all"
    for variable in (MAX_BYTES, MAX_AGE):
        with monkeypatch.context() as patch:
            patch.setenv(variable, text)
            with pytest.raises(codex_obs.SettingError, match=variable):
                codex_obs.Settings()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1), ("+1", 1), (" 17 ", 17), ("\t17\n", 17), ("007", 7), ("67108864", 67108864), (str(BIGGEST), BIGGEST),
        (str(BIGGEST + 1), BIGGEST), ("9" * 30, BIGGEST), ("9" * 5000, BIGGEST), ("0" * 5000 + "5", 5),
    ],
    ids=label,
)  # fmt: skip
def test_whole_numbers_are_read_and_cut_to_what_can_be_counted(
    text: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MAX_BYTES, text)
    monkeypatch.setenv(BACKUP_COUNT, text)
    settings = codex_obs.Settings()
    assert (settings.max_shard_bytes, settings.backup_count) == (number, number)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("+2.25", 2.25), (" 3 ", 3.0), ("0.0000000001", 1e-6),
        ("9" * 400, LONGEST_S), ("9" * 400 + ".5", LONGEST_S), ("0.0", None), ("-0.5", None), ("-.5", None),
    ],
    ids=label,
)  # fmt: skip
def test_ages_are_read_and_cut_to_what_can_be_counted(
    text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MAX_AGE, text)
    assert resolved("max_shard_age_s") == seconds


@pytest.mark.parametrize("text", ["1.2.3", ".", "+.", "1..", "..5", "5.5s", "1e-3", "1.\N{ARABIC-INDIC DIGIT FIVE}"])
def test_a_broken_age_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_AGE, text)
    with pytest.raises(codex_obs.SettingError, match=MAX_AGE):
        codex_obs.Settings()


def test_an_argument_wins_over_the_environment_for_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, tuple[str, Any, Any]] = {
        "rank": ("3", 3, 4),
        "resume_step": ("10", 10, 11),
        "max_shard_bytes": ("100", 100, None),
        "max_shard_age_s": ("1.5", 1.5, None),
        "backup_count": ("all", "all", None),
        "archive": ("None", "none", "zstd"),
        "archive_max_bytes": ("100", 100, None),
        "max_unexported_shards": ("7", 7, 0),
        "ring_bytes": ("300000", 300000, 1 << 20),
        "max_block_s": ("0.25", 0.25, 0.0),
        "overflow": ("DROP", "drop", "block"),
        "fsync": ("Never", "never", "always"),
        "fsync_interval_s": ("2", 2.0, 0.5),
        "file_mode": ("0o640", 0o640, 0o660),
        "legacy": ("on", True, False),
        "flatten": ("Yes", True, False),
        "deferred": ("Cuda", "cuda", False),
        "disabled": ("On", True, False),
        "console": ("yes", True, False),
        "mlflow_tracking_uri": (" http://a:5000/ ", "http://a:5000/", "HTTPS://b"),
        "mlflow_run_id": ("a1b2", "a1b2", "c-3_d"),
        "mlflow_experiment_id": ("12", "12", "7"),
        "mlflow_experiment_name": (" größe 1", " größe 1", "other"),
        "tensorboard": ("elsewhere", "elsewhere", True),
        "system_metrics": ("auto", "auto", "/machine.jsonl"),
        "system_metrics_interval_s": ("0.5", 0.5, 2.0),
        "prometheus_port": ("9100", 9100, 8000),
        "destinations": (" one, two.2,,one", ("one", "two.2"), ("three",)),
        "wandb": ("Offline", "offline", "disabled"),
        "export_ranks": ("ALL", "all", "main"),
        "export_interval_s": ("0.5", 0.5, 2.0),
        "export_flush_metrics": ("10", 10, 1),
        "export_request_metrics": ("100", 100, 1000),
        "export_request_bytes": ("200000", 200_000, 100_000),
        "export_timeout_s": ("10", 10.0, 0.5),
    }
    assert environment.keys() == TABLE.keys()
    for field, (text, _, _) in environment.items():
        monkeypatch.setenv(TABLE[field].variables[0], text)
    from_environment = dataclasses.asdict(codex_obs.Settings())
    assert from_environment == {field: value for field, (_, value, _) in environment.items()}
    arguments = {field: argument for field, (_, _, argument) in environment.items()}
    assert dataclasses.asdict(codex_obs.Settings(**arguments)) == arguments


@pytest.mark.parametrize("field", sorted(TABLE))
@pytest.mark.parametrize("text", ["nonsense", "1e400", "\udc80", "\x1b[2J", "5 5", "9" * 5000], ids=label)
def test_nonsense_names_the_variable_or_is_taken_for_off(
    field: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = TABLE[field].variables[0]
    monkeypatch.setenv(variable, text)
    numbers = (
        "max_shard",
        "max_block",
        "backup",
        "archive_max",
        "fsync_int",
        "export_int",
        "export_timeout",
        "system_metrics_int",
    )
    is_name = field in ("mlflow_run_id", "mlflow_experiment_id", "destinations") and text in ("nonsense", "1e400")
    is_name |= field == "mlflow_experiment_name" and text in ("nonsense", "1e400", "5 5")
    # TensorBoard's is a folder and that of samples a file, whatever it is called.
    if (
        field in ("legacy", "tensorboard", "system_metrics")
        or (field, text) == ("mlflow_tracking_uri", "nonsense")
        or (text.isdigit() and field.startswith(numbers))
        or is_name
    ):
        codex_obs.Settings()
        return
    with pytest.raises(codex_obs.SettingError) as caught:
        codex_obs.Settings()
    message = str(caught.value)
    assert message.startswith(f"{variable} cannot" if field in SECRET_FIELDS else f"{variable}=")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("field", sorted(set(TABLE) - {"max_shard_bytes", "max_shard_age_s", "backup_count"}))
def test_an_empty_variable_counts_as_not_set(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in TABLE[field].variables:
        monkeypatch.setenv(variable, " ")
    assert resolved(field) == DEFAULTS[field]


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({"RANK": "2", "SLURM_PROCID": "3"}, 2),
        ({"SLURM_PROCID": "3", "OMPI_COMM_WORLD_RANK": "4"}, 3),
        ({"OMPI_COMM_WORLD_RANK": "4", "PMI_RANK": "5"}, 4),
        ({"PMI_RANK": "5"}, 5),
        ({"RANK": "0", "SLURM_PROCID": "3"}, 0),
        ({"RANK": "", "SLURM_PROCID": "3"}, 3),
        ({"RANK": "-1", "PMI_RANK": "6"}, 6),
        ({"RANK": "-1"}, None),
        ({}, None),
    ],
)
def test_the_rank_is_that_of_the_first_launcher(
    environment: dict[str, str], rank: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert resolved("rank") == rank


@pytest.mark.parametrize(
    ("text", "mode"),
    [("600", 0o600), ("640", 0o640), ("0o640", 0o640), ("0O660", 0o660), ("0640", 0o640), (" 777 ", 0o777)],
)
def test_file_modes(text: str, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LOG_FILE_MODE", text)
    assert resolved("file_mode") == mode == environment.file_mode()


@pytest.mark.parametrize(
    "text",
    ["400", "200", "066", "1600", "4755", "68", "rw", "0x180", "-600", "+600", "6_00", "\N{ARABIC-INDIC DIGIT SIX}00"],
)
def test_file_modes_that_cannot_be_used(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LOG_FILE_MODE", text)
    for read in (codex_obs.Settings, environment.file_mode):
        with pytest.raises(codex_obs.SettingError, match="CODEX_LOG_FILE_MODE"):
            read()


@pytest.mark.parametrize("variable", ["CODEX_TRACKING_LEGACY_NDJSON", "LOGGING_NDJSON_LEGACY"])
@pytest.mark.parametrize("text", ["1", "true", "YES", " On ", "0", "false", "no", "off", "", "2", "maybe", "legacy"])
def test_legacy_is_on_for_four_words_only(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_TRACKING_LEGACY_NDJSON", "0")
    monkeypatch.setenv(variable, text)
    assert resolved("legacy") is (text.strip().lower() in {"1", "true", "yes", "on"})


@pytest.mark.parametrize(
    ("field", "value", "result"),
    [
        ("rank", np.int64(3), 3),
        ("max_shard_bytes", 0, None),
        ("max_shard_bytes", -5, None),
        ("max_shard_bytes", 10**30, BIGGEST),
        ("max_shard_bytes", 10**5000, BIGGEST),
        ("max_shard_age_s", 0, None),
        ("max_shard_age_s", 0.0, None),
        ("max_shard_age_s", -1.5, None),
        ("max_shard_age_s", float("inf"), LONGEST_S),
        ("max_shard_age_s", 10**400, LONGEST_S),
        ("max_shard_age_s", -(10**400), None),
        ("max_shard_age_s", np.float32(1.5), 1.5),
        ("max_shard_age_s", Decimal("2.5"), 2.5),
        ("max_shard_age_s", Fraction(1, 2), 0.5),
        ("backup_count", "all", "all"),
        ("backup_count", 0, None),
        ("backup_count", -1, None),
        ("max_block_s", 0, 0.0),
        ("max_block_s", float("inf"), LONGEST_S),
        ("ring_bytes", 262144, 262144),
        ("file_mode", 0o777, 0o777),
    ],
    ids=label,
)
def test_arguments_are_taken(field: str, value: object, result: object) -> None:
    settings = codex_obs.Settings(**{field: value})  # type: ignore[arg-type]  # any value is tried
    assert getattr(settings, field) == result
    assert type(getattr(settings, field)) is type(result)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank", -1), ("rank", True), ("rank", "1"), ("rank", 1.0), ("rank", 2**31), ("rank", np.bool_(1)),
        ("rank", 10**5000), ("resume_step", -1), ("resume_step", 2**63), ("resume_step", 1.5),
        ("max_shard_bytes", "64MiB"), ("max_shard_bytes", 1.5), ("max_shard_bytes", True), ("max_shard_bytes", "all"),
        ("max_shard_age_s", "1"), ("max_shard_age_s", float("nan")), ("max_shard_age_s", False),
        ("max_shard_age_s", 1j), ("max_shard_age_s", Decimal("sNaN")), ("backup_count", "ALL"), ("backup_count", 1.5),
        ("max_unexported_shards", None), ("max_unexported_shards", -1), ("ring_bytes", 262143),
        ("ring_bytes", 2**30 + 1), ("ring_bytes", None), ("max_block_s", -1), ("max_block_s", float("nan")),
        ("max_block_s", None),
        ("overflow", "wait"), ("overflow", None), ("overflow", b"drop"), ("fsync", True), ("fsync", "INTERVAL"),
        ("fsync_interval_s", 0), ("fsync_interval_s", -1), ("file_mode", 640), ("file_mode", 0o400),
        ("file_mode", 0o1600), ("file_mode", "0640"), ("file_mode", -1), ("legacy", 1), ("legacy", "on"),
        ("legacy", None), ("flatten", 0), ("rank", np.arange(2)), ("max_block_s", np.arange(2)),
    ],
    ids=label,
)  # fmt: skip
def test_arguments_that_cannot_be_used_are_named(field: str, value: object) -> None:
    with pytest.raises(codex_obs.SettingError, match=f"^{field}=") as caught:
        codex_obs.Settings(**{field: value})  # type: ignore[arg-type]  # any value is tried
    assert isinstance(caught.value, ValueError)
    assert "give " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(TypeError, match="unknown setting 'max_bytes': did you mean 'max_shard_bytes'"):
        codex_obs.Settings(max_bytes=1)  # type: ignore[call-arg]  # the point of the test


def test_settings_are_frozen_compare_pickle_and_make_changed_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = codex_obs.Settings(backup_count=None, rank=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.rank = 3  # type: ignore[misc]  # the point of the test
    assert settings == codex_obs.Settings(backup_count=None, rank=2)
    assert hash(settings) == hash(codex_obs.Settings(backup_count=None, rank=2))
    monkeypatch.setenv(BACKUP_COUNT, "9")
    assert pickle.loads(pickle.dumps(settings)) == settings
    changed = dataclasses.replace(settings, rank=0)
    assert (changed.rank, changed.backup_count) == (0, None)


def test_every_variable_is_listed_with_its_default_and_meaning() -> None:
    listed = codex_obs.env_vars()
    names = [variable.name for variable in listed]
    assert len(set(names)) == len(names)
    assert {variable.setting for variable in listed} == {*DEFAULTS, None}
    assert {name for entry in TABLE.values() for name in entry.variables} < set(names)
    assert all(variable.default and variable.meaning.endswith(".") for variable in listed)
    for field in ("resume_step", "max_unexported_shards", "ring_bytes", "max_block_s", "overflow", "fsync", "flatten"):
        assert f"CODEX_OBS_{field.upper()}" in names
    defaults = {variable.name: variable.default for variable in listed}
    assert (defaults[MAX_BYTES], defaults[BACKUP_COUNT], defaults["CODEX_LOG_FILE_MODE"]) == ("67108864", "5", "600")


def test_no_other_module_reads_the_environment() -> None:
    package = sys.modules["codex_obs"].__path__[0]
    files: list[Path] = sorted(Path(package).glob("**/*.py"))
    readers = {file.name for file in files if "environ" in (text := file.read_text()) and "os.environ" in text}
    assert readers == {"environment.py"}
    assert not any("getenv" in file.read_text() for file in files)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:5000", "https://mlflow.example.org", "HTTP://Host/path/", "http://[::1]:5000",
        "https://user:pass%2Fword@host:5000/base", "http://token@host",
    ],
)  # fmt: skip
def test_an_address_is_taken_as_it_is(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert codex_obs.Settings(mlflow_tracking_uri=f" {address}\n").mlflow_tracking_uri == address
    monkeypatch.setenv("CODEX_OBS_MLFLOW_TRACKING_URI", address)
    assert resolved("mlflow_tracking_uri") == address
    assert codex_obs.Settings(mlflow_tracking_uri="").mlflow_tracking_uri is None
    assert codex_obs.Settings(mlflow_tracking_uri=None).mlflow_tracking_uri == address


@pytest.mark.parametrize(
    "address",
    [
        "canary:5000", "file://canary/mlruns", "databricks", "http:/canary", "http://", "://canary",
        "http://can ary", "http://canary\x00", "ftp://u:canary@host", "http://u:can/ary@host", "http://host/?key=canary",
        "https://host#canary", "http://u:can?ary@host", "http://u:can#ary@host", 5, b"http://canary",
    ],
)  # fmt: skip
def test_any_other_address_is_an_error_that_does_not_repeat_it(address: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^mlflow_tracking_uri cannot be used: ") as caught:
        codex_obs.Settings(mlflow_tracking_uri=address)
    assert "canary" not in str(caught.value)
    if isinstance(address, str) and "\0" not in address:
        monkeypatch.setenv("CODEX_OBS_MLFLOW_TRACKING_URI", address)
        with pytest.raises(codex_obs.SettingError, match=r"^CODEX_OBS_MLFLOW_TRACKING_URI cannot be used: ") as caught:
            codex_obs.Settings()
        assert "canary" not in str(caught.value)


def test_what_mlflow_itself_reads_switches_nothing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "http://127.0.0.1:5000")
    assert dataclasses.asdict(codex_obs.Settings()) == DEFAULTS
