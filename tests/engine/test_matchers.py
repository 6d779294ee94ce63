"""Label matchers: what they accept, how they are read, what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadQuery
from engine.matchers import make, parse
from engine.query.value import filters_as_matchers


@pytest.mark.parametrize(
    ("text", "value", "accepted"),
    [
        ('{a="x"}', "x", True), ('{a="x"}', "xx", False), ('{a=""}', "", True), ('{a!="x"}', "", True),
        ('{a=~"x|y"}', "y", True), ('{a=~"x"}', "xx", False), ('{a=~"x.*"}', "xx", True), ('{a!~"x.*"}', "xx", False),
        ('{a=~".*"}', "", True), ('{a=~".+"}', "", False),
        ('{ a = "b\\"c" , }', 'b"c', True), ('{a="b\\\\n"}', "b\\n", True),
        ('{a="b\\nc"}', "b\nc", True), ('{a="},{"}', "},{", True),
    ],
)  # fmt: skip
def test_what_a_matcher_accepts(text: str, value: str, accepted: bool) -> None:
    [matcher] = parse(text)
    assert matcher.label == "a" and matcher.accepts(value) is accepted


def test_several_are_read_in_order() -> None:
    assert parse('{a="1",b!="2", c=~"3" ,d!~"4"}') == (
        make("a", "=", "1"), make("b", "!=", "2"), make("c", "=~", "3"), make("d", "!~", "4"),
    )  # fmt: skip
    assert parse("{}") == parse("{ }") == ()


@pytest.mark.parametrize(
    "text",
    ["", "a", "{", '{a}', '{a=}', '{a="b}', '{a="b" c="d"}', '{="b"}', '{a=="b"}', "{,}",
     '{a="b",,}', '{a=~"("}', '{a=~"[z-a]"}',
     '{a=~"' + "x" * 501 + '"}'],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse(text)


@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    for given_text in (text, "{" + text + "}", '{a="' + text + '"}', '{a=~"' + text + '"}'):
        try:
            for matcher in parse(given_text):
                matcher.accepts("value")
        except BadQuery:
            pass


@given(st.text(max_size=20))
def test_any_value_can_be_written(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    [matcher] = parse('{a="' + quoted + '"}')
    assert matcher.accepts(value)


def test_a_pattern_of_the_usual_kind_is_fast_on_long_values() -> None:
    begun = time.perf_counter()
    for pattern in ("web-.*", ".*error.*", "[a-z0-9_]+", "(a|b|c)x*"):
        make("a", "=~", pattern).accepts("a" * 1024 + "!")
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize("pattern", ["((a+))+b", "(a|a)*b", ".*.*.*.*.*="])
def test_a_pattern_that_could_backtrack_for_ever_is_decided_at_once(pattern: str) -> None:
    (matcher,) = parse('{a=~"' + pattern + '"}')
    assert not matcher.accepts("a" * 1024)  # a backtracking engine would not end


def test_a_filter_that_lists_values_takes_any_of_them() -> None:
    (matcher,) = filters_as_matchers({"a": ["x.y", "", "é" * 600]})
    assert [matcher.accepts(value) for value in ("x.y", "xzy", "", "é" * 600)] == [True, False, True, True]
    with pytest.raises(BadQuery, match="empty list"):
        filters_as_matchers({"a": []})
