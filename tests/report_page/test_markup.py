"""Tables and links, safe for any text."""

from repair.report_page.markup import Html, choice_link, html_table


def test_text_is_escaped_and_html_stays():
    table = html_table("<c>", ["a<b", "n"], [["<x>", Html("<i>1</i>")]])
    assert table == (
        '<table><caption>&lt;c&gt;</caption><thead><tr><th scope="col">a&lt;b</th>'
        '<th scope="col">n</th></tr></thead><tbody><tr><th scope="row">&lt;x&gt;</th>'
        '<td data-label="n"><i>1</i></td></tr></tbody></table>'
    )


def test_a_link_holds_its_choice():
    link = choice_link("3", 'so "many"', run="a&b <c>", by="start")
    assert link == (
        '<a href="#run=a%26b+%3Cc%3E&amp;by=start" aria-label="so &quot;many&quot;">'
        "3</a>"
    )
