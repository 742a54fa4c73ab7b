"""A hook of mkdocs: fills the table of environment variables from `codex_obs.env_vars()`, the only list of them."""

import codex_obs

MARKER = "<!-- environment-variables -->"


def on_page_markdown(markdown: str, **_context: object) -> str:
    """Put the table where a page asks for it."""
    return markdown.replace(MARKER, table()) if MARKER in markdown else markdown


def table() -> str:
    """Give the table as Markdown."""
    lines = ["| variable | default | setting | meaning |", "|---|---|---|---|"]
    for variable in codex_obs.env_vars():
        setting = f"`{variable.setting}`" if variable.setting else ""
        default = f"`{_cell(str(variable.default))}`" if variable.default not in (None, "") else ""
        lines.append(f"| `{variable.name}` | {default} | {setting} | {_cell(variable.meaning)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
