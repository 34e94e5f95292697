"""HTML of tables and links, with the text in it escaped."""

import urllib.parse
from collections.abc import Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""


def html_table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> Html:
    """Return a table; the first cell of each row is its heading.

    Args:
      caption: Text below the table.
      heads: Headings of the columns.
      rows: Cells, of text or `Html`.
    """
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = ""
    for first, *cells in rows:
        body += f'<tr><th scope="row">{_text(first)}</th>'
        for name, cell in zip(heads[1:], cells, strict=True):
            body += f'<td data-label="{escape(name)}">{_text(cell)}</td>'
        body += "</tr>"
    return Html(
        f"<table><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def choice_link(text: str, label: str, **chosen: str) -> Html:
    """Return a link to a choice of the page's script.

    Args:
      text: Shown.
      label: Read aloud in its place.
      **chosen: Fields of the choice, as in the address.
    """
    href = "#" + urllib.parse.urlencode(chosen)
    return Html(
        f'<a href="{escape(href)}" aria-label="{escape(label)}">{escape(text)}</a>'
    )


def _text(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)
