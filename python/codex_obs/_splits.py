"""Names of metrics as frameworks give them, sorted into splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Of rows that say nothing else.
DEFAULT_SPLIT = "train"
WORDS = ("train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "dev", "predict")


def by_split(
    values: Mapping[str, object],
    *,
    default: str = DEFAULT_SPLIT,
    words: Collection[str] = WORDS,
    folders: Collection[str] = (),
    any_folder: bool = False,
) -> dict[str, dict[str, object]]:
    """Sort values by the split that their names begin with: ``val_loss`` and ``val/loss`` are ``loss`` of ``val``.

    Args:
        values: Names and values.
        default: Split of names that tell none.
        words: What is a split before ``_`` or ``/``.
        folders: What is a split before ``/`` only.
        any_folder: Whether everything before the first ``/`` is a split.

    Returns:
        For each split its names and values, in order. A name that would be taken twice in its split stays whole.
    """
    found: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        split, short = _parts(name, words, folders, any_folder=any_folder)
        if split is None:
            split, short = default, name
        elif short in found.get(split, ()) or (split == default and short in values):
            short = name
        found.setdefault(split, {})[short] = value
    return found


def _parts(name: str, words: Collection[str], folders: Collection[str], *, any_folder: bool) -> tuple[str | None, str]:
    folder, slash, rest = name.partition("/")
    if slash and rest and folder and (any_folder or folder in words or folder in folders):
        return folder, rest
    word, line, rest = name.partition("_")
    if line and rest and word in words:
        return word, rest
    return None, name
