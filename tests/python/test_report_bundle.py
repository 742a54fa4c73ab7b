"""The page's modules go into one script."""

from __future__ import annotations

import re
from collections import Counter

from codex_obs.viewers._assets import STATIC
from codex_obs.viewers._bundle import script

TEXTS = {path.name: path.read_text() for path in STATIC.iterdir() if path.suffix == ".js"}


def test_no_two_modules_export_the_same_name() -> None:
    exported = [
        name for text in TEXTS.values() for name in re.findall(r"^export (?:async )?\w+ (\w+)", text, re.MULTILINE)
    ]
    assert [name for name, count in Counter(exported).items() if count > 1] == []


def test_modules_use_the_forms_of_import_and_export_that_one_script_is_made_of() -> None:
    for name, text in TEXTS.items():
        lines = [line for line in text.splitlines() if re.match(r"(import|export)\b", line)]
        known = [
            line
            for line in lines
            if re.fullmatch(r'import \{ [\w, ]+ \} from "\./\w+\.js";', line)
            or re.match(r"export (async )?(const|let|function|class) \w+", line)
        ]
        assert lines == known, name


def test_every_module_is_in_the_script_behind_those_that_it_imports() -> None:
    made = script(TEXTS)
    places = {name: made.index(text.splitlines()[0]) for name, text in TEXTS.items()}
    for name, text in TEXTS.items():
        for imported in re.findall(r'from "\./([\w.]+)"', text):
            assert places[imported] < places[name]
    assert not re.search(r"^(import|export)\b", made, re.MULTILINE)
    assert "</script" not in made
