"""Texts of unknown origin, made harmless for a terminal."""


def visible(text: str) -> str:
    """Escape what would move the cursor, change colours or reorder text on a terminal, as Python's ``repr`` does."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def visible_lines(text: str) -> str:
    """Escape the same in a text of several lines."""
    return "\n".join(map(visible, text.split("\n")))
