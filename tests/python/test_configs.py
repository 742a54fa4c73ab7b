"""What configurations are made of becomes objects, whatever cannot be read, and is cut only where it is too long."""

from __future__ import annotations

import argparse
import json
import logging
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import jsonschema
import pytest

import codex_obs
from codex_obs.testing import MemoryRun, open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEBIBYTE = 1 << 20


class Missing(Mapping[str, object]):
    """As OmegaConf's: the value of one key raises, and with it whoever asks for all items."""

    def __init__(self, **content: object) -> None:
        self._content = content

    def __getitem__(self, key: str) -> object:
        if self._content[key] == "???":
            raise RuntimeError(f"Missing mandatory value: {key}")
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


class MissingList(Sequence[object]):
    """Iterating it raises where a value is missing, and goes no further."""

    def __init__(self, content: list[object]) -> None:
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, index: Any) -> Any:
        if self._content[index] == "???":
            raise RuntimeError("Missing mandatory value")
        return self._content[index]


class Keyed:
    """As ml_collections.ConfigDict: no mapping by class, and every attribute is an item."""

    def __init__(self, **content: object) -> None:
        object.__setattr__(self, "_content", content)

    def keys(self) -> list[str]:
        return list(self.__dict__["_content"])

    def __getitem__(self, key: str) -> object:
        return self.__dict__["_content"][key]

    def __getattr__(self, name: str) -> object:
        try:
            return self.__dict__["_content"][name]
        except KeyError:
            raise AttributeError(name) from None


class Broken:
    """Nothing of it can be read."""

    def keys(self) -> list[str]:
        raise ZeroDivisionError

    def __getitem__(self, key: str) -> object:
        raise ZeroDivisionError


@dataclass
class Model:
    depth: int = 3
    sizes: tuple[int, ...] = (1, 2)
    inner: object = None
    kind: ClassVar[str] = "no field"
    hidden: int = field(default=7, repr=False)


class Attrs:
    __attrs_attrs__ = (types.SimpleNamespace(name="lr"), types.SimpleNamespace(name="gone"))

    def __init__(self) -> None:
        self.lr = 0.1

    @property
    def gone(self) -> object:
        raise LookupError


class Pydantic:
    """As a model of version 2."""

    def __init__(self, **content: object) -> None:
        self.__dict__.update(content)

    def model_dump(self, *, warnings: bool = True) -> dict[str, object]:
        assert not warnings
        if "broken" in self.__dict__:
            raise TypeError("cannot be dumped")
        return dict(self.__dict__)


class OldPydantic:
    __fields__: ClassVar[dict[str, object]] = {"lr": None}

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def dict(self) -> dict[str, object]:
        raise NotImplementedError


OBJECTS: dict[str, tuple[object, object, int]] = {
    "dict": ({"a": 1}, {"a": 1}, 0),
    "missing": (Missing(a=1, ckpt="???"), {"a": 1, "ckpt": None}, 1),
    "missing below": ({"sub": Missing(a=1, ckpt="???"), "z": 2}, {"sub": {"a": 1, "ckpt": None}, "z": 2}, 1),
    "missing in a sequence": ({"l": MissingList([1, "???", 3])}, {"l": [1, None, 3]}, 1),
    "keys": (Keyed(a=1, shape=[2], sub=Keyed(b=2)), {"a": 1, "shape": [2], "sub": {"b": 2}}, 0),
    "broken": (Broken(), {}, 1),
    "broken below": ({"a": Broken(), "b": [Broken(), 1]}, {"a": None, "b": [None, 1]}, 2),
    "dataclass": (
        Model(inner=Model(depth=4)),
        {
            "depth": 3,
            "sizes": [1, 2],
            "inner": {"depth": 4, "sizes": [1, 2], "inner": None, "hidden": 7},
            "hidden": 7,
        },
        0,
    ),
    "attrs": (Attrs(), {"lr": 0.1, "gone": None}, 1),
    "pydantic": (Pydantic(lr=0.1, sub=Pydantic(x=1)), {"lr": 0.1, "sub": {"x": 1}}, 0),
    "pydantic that cannot be dumped": (Pydantic(lr=0.1, broken=Broken()), {"lr": 0.1, "broken": None}, 1),
    "pydantic of version 1": (OldPydantic(0.1), {"lr": 0.1}, 0),
    "argparse": (argparse.Namespace(lr=0.1, sub=argparse.Namespace(x=1)), {"lr": 0.1, "sub": {"x": 1}}, 0),
    "namespace": (types.SimpleNamespace(lr=0.1), {"lr": 0.1}, 0),
}


def valid(line: dict[str, object]) -> dict[str, Any]:
    name = str(line["$schema"]).rpartition("/")[2]
    schema = json.loads((_schemas() / name).read_text("utf-8"))
    jsonschema.validate(line, schema)
    return line


def _schemas() -> Path:
    from pathlib import Path  # noqa: PLC0415 - the one at the top is for the type checker

    return Path(codex_obs.__path__[0]) / "schemas"


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("place", ["config", "tags", "params", "row"])
def test_what_a_configuration_is_made_of_becomes_an_object_everywhere(name: str, place: str, run_dir: Path) -> None:
    given, expected, nulled = OBJECTS[name]
    with codex_obs.init(run_dir, **({place: given} if place in ("config", "tags") else {})) as run:  # type: ignore[arg-type]
        before = run.stats()["nodes_nulled"]
        if place == "params":
            run.log_params(given)
        elif place == "row":
            run.log({"m": 1}, tags=given)
        after = run.stats()["nodes_nulled"]
    lines = [valid(line) for line in read_rows(run_dir, "params")]
    found = {
        "config": lambda: lines[0]["config"],
        "params": lambda: lines[-1]["config"],
        "tags": lambda: lines[0].get("metadata", {}).get("tags", {}),
        "row": lambda: valid(read_rows(run_dir)[0])["tags"],
    }[place]()
    assert found == expected
    assert (after if place in ("config", "tags") else after - before) == (
        0 if place == "tags" and name == "broken" else nulled
    )
    statuses = [line.get("status") for line in read_rows(run_dir, "run")]
    assert statuses == [None, "finished"]


def test_what_run_config_says_is_what_was_given(run_dir: Path) -> None:
    with codex_obs.init(run_dir, config=Model()) as run:
        run.log_params(Missing(a=1, ckpt="???"))
        assert dict(run.config) == {"depth": 3, "sizes": (1, 2), "inner": None, "hidden": 7, "a": 1, "ckpt": None}
    memory = MemoryRun()
    memory.log_params(Model())
    assert memory.config["depth"] == 3


@pytest.mark.parametrize("given", [3, "abc", [1], Model])
def test_what_is_none_is_refused_before_anything_is_written(given: object, run_dir: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match="must be a mapping or None"):
        codex_obs.init(run_dir, config=given)
    assert not run_dir.exists()


class Interrupting:
    def keys(self) -> list[str]:
        raise KeyboardInterrupt

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)


def test_an_interrupt_while_parameters_are_read_leaves_no_session(run_dir: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        codex_obs.init(run_dir, config=Interrupting())
    with pytest.raises(KeyboardInterrupt):
        codex_obs.init(run_dir, config={"sub": Interrupting()})
    assert not run_dir.exists()
    with pytest.raises(KeyboardInterrupt):
        codex_obs.init(run_dir, tags={"sub": Interrupting()})
    assert [line.get("status") for line in read_rows(run_dir, "run")] == [None, "killed"]
    assert codex_obs.current_run() is None


def lengths(value: object) -> object:
    if isinstance(value, dict):
        return {key if len(key) < 100 else len(key): lengths(inner) for key, inner in value.items()}
    return len(value) if isinstance(value, str | list) and len(value) > 10 else value


LONG: dict[str, tuple[Callable[[], object], object, int]] = {
    "2 MiB": (lambda: {"lr": 1, "blob": "y" * 2 * MEBIBYTE}, {"lr": 1, "blob": 4094}, 1),
    "20 MiB": (lambda: {"lr": 1, "blob": "y" * 20 * MEBIBYTE, "z": [1]}, {"lr": 1, "blob": 4094, "z": [1]}, 1),
    "deep": (
        lambda: {"a": {"b": [{"blob": "é" * MEBIBYTE, "x": 1}]}, "c": "x" * 5000},
        {"a": {"b": [{"blob": "é" * 682, "x": 1}]}, "c": 5000},
        1,
    ),
    "bytes": (lambda: {"lr": 1, "blob": b"x" * 2 * MEBIBYTE}, {"lr": 1, "blob": 4094}, 1),
    "huge key": (lambda: {"k" * 2 * MEBIBYTE: 1, "lr": 2}, {4096: 1, "lr": 2}, 0),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("place", ["config", "tags"])
def test_only_the_long_value_is_cut_and_named(
    name: str, place: str, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, expected, cuts = LONG[name]
    with caplog.at_level(logging.WARNING, "codex_obs"), codex_obs.init(run_dir, **{place: make()}) as run:  # type: ignore[arg-type]
        stats = run.stats()
    (line,) = map(valid, read_rows(run_dir, "params"))
    found = line["config"] if place == "config" else line["metadata"]["tags"]
    assert found == expected or lengths(found) == expected
    assert (stats["payloads_cut"], stats["texts_cut"]) == (cuts, 1 - cuts)
    if cuts:
        (words,) = caplog.messages
        assert words.startswith(f"codex_obs: run {run.name}: the {'parameter' if place == 'config' else 'tag'} `")
        assert "blob` is too long and cut" in words


def test_of_many_values_that_are_too_long_together_only_as_many_are_cut_as_need_be(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = {f"k{index:02}": "m" * 100_000 for index in range(100)} | {"lr": 1, "list": list(range(1000))}
    with caplog.at_level(logging.WARNING, "codex_obs"), codex_obs.init(run_dir, config=values) as run:
        cut = run.stats()["payloads_cut"]
    (line,) = map(valid, read_rows(run_dir, "params"))
    assert list(line["config"]) == sorted(values)
    assert (line["config"]["lr"], line["config"]["list"]) == (1, list(range(1000)))
    whole = [name for name, value in line["config"].items() if value == values[name]]
    assert len(whole) == 102 - cut > 6
    assert f"{cut - 5} more are too long" in caplog.text


def test_a_long_list_keeps_its_first_elements_and_its_own_name(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codex_obs"):
        codex_obs.init(run_dir, config={"seen": list(range(10**6)), "lr": 1}).close()
    (line,) = map(valid, read_rows(run_dir, "params"))
    kept = line["config"]["seen"]
    assert kept == list(range(len(kept)))
    assert len(kept) > 500
    assert "the parameter `seen` is too long" in caplog.text


def test_parameters_fit_into_the_smallest_journal(run_dir: Path) -> None:
    with open_run(run_dir, config={"lr": 1, "blob": "y" * 200_000}, ring_bytes=256 << 10) as run:
        assert run.stats()["payloads_cut"] == 1
    (line,) = map(valid, read_rows(run_dir, "params"))
    assert (line["config"]["lr"], len(line["config"]["blob"])) == (1, 4094)


def test_tags_of_a_row_that_are_too_long_together_are_cut_and_said_once(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tags = {"a": 1, "many": ["x" * 4000] * 1000, "nonfinit": 2, "z": {"n": None}}
    with caplog.at_level(logging.WARNING, "codex_obs"), open_run(run_dir) as run:
        for step, value in enumerate((1.0, float("nan"), [1])):
            run.log({"m": value}, step, tags=tags)
        assert run.stats()["payloads_cut"] == 3
    rows = [valid(row) for row in read_rows(run_dir)]
    for row, added in zip(rows, ([], ["nonfinite"], ["manifest_id"]), strict=True):
        assert list(row["tags"]) == sorted([*tags, *added])
        assert (row["tags"]["a"], row["tags"]["z"]) == (1, {"n": None})
        assert len(row["tags"]["many"]) > 200
    assert len(caplog.messages) == 1
    assert "tags of a row were cut" in caplog.text
    assert "`many`" in caplog.text


def test_real_libraries_of_configurations(run_dir: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    make = omegaconf.OmegaConf.create
    config = make({"a": 1, "ckpt": "???", "sub": {"b": "???", "c": "${a}", "d": "${nowhere}"}, "l": [1, "???", "${a}"]})
    with codex_obs.init(run_dir, config=config, tags=make({"t": "???"})) as run:
        run.log({"m": 1}, tags=config)
        assert run.stats()["nodes_nulled"] == 9
    (line,) = map(valid, read_rows(run_dir, "params"))
    expected = {"a": 1, "ckpt": None, "sub": {"b": None, "c": 1, "d": None}, "l": [1, None, 1]}
    assert (line["config"], line["metadata"]["tags"]) == (expected, {"t": None})
    assert read_rows(run_dir)[0]["tags"] == expected


def test_real_attrs_pydantic_and_config_dicts(tmp_path: Path) -> None:
    attrs, pydantic = pytest.importorskip("attrs"), pytest.importorskip("pydantic")
    collections = pytest.importorskip("ml_collections")
    klass = attrs.make_class("Klass", {"x": attrs.field(default=1)})
    model = pydantic.create_model("Model", lr=(float, 0.1), key=(pydantic.SecretStr, pydantic.SecretStr("hidden")))
    config = {"attrs": klass(), "model": model(), "dict": collections.ConfigDict({"a": {"b": 1}})}
    codex_obs.init(tmp_path / "all", config=config).close()
    codex_obs.init(tmp_path / "one", config=config["model"]).close()
    (line,) = map(valid, read_rows(tmp_path / "all", "params"))
    expected = {"attrs": {"x": 1}, "model": {"lr": 0.1, "key": "**********"}, "dict": {"a": {"b": 1}}}
    assert line["config"] == expected
    assert read_rows(tmp_path / "one", "params")[0]["config"] == expected["model"]
