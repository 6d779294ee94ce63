"""Label matchers, = != =~ !~, and the one grammar for them: {name="value", other=~"regex"}.

A regular expression must match the whole value, as in Prometheus; a label that is absent matches as "".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import re2

from engine.errors import BadQuery

OPERATORS = ("=~", "!~", "!=", "=")
ANY_OF = "any of"
"""The operator of a filter that lists values; it is not written in braces."""
MAX_PATTERN = 500

_NAME = re.compile(r"\s*([^\s={}!~,\"]+)\s*")
_STRING = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*')
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label. values: of ANY_OF."""

    label: str
    operator: str
    value: str
    values: frozenset[str] = frozenset()

    def accepts(self, value: str) -> bool:
        """Whether a label value, "" for none, fulfils the condition."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        if self.operator == ANY_OF:
            return value in self.values
        return (_pattern(self.value).fullmatch(value) is not None) == (self.operator == "=~")


# RE2 runs in linear time; Python's own would let a pattern such as ((a+))+b stop the server.
@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    if len(text) > MAX_PATTERN:
        raise BadQuery(f"the regular expression is {len(text)} characters long; at most {MAX_PATTERN} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        pattern: re.Pattern[str] = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise BadQuery(f"the regular expression {text!r} is malformed: {reason}") from None
    return pattern


def make(label: str, operator: str, value: str) -> Matcher:
    """A matcher, with its regular expression checked. Raises BadQuery."""
    if operator.endswith("~"):
        _pattern(value)
    return Matcher(label, operator, value)


def parse(text: str) -> tuple[Matcher, ...]:
    """The matchers of `{a="b",c=~"d"}`. Raises BadQuery with the place of the mistake."""
    if not (text.startswith("{") and text.endswith("}")):
        raise BadQuery(f'label matchers stand in braces, like {{endpoint="/api/users"}}; got {text!r}')
    at, end = 1, len(text) - 1
    found: list[Matcher] = []
    while text[at:end].strip():
        name = _NAME.match(text, at, end)
        if name is None:
            raise BadQuery(f"a label name is missing at character {at + 1} of {text!r}")
        at = name.end()
        operator = next((op for op in OPERATORS if text.startswith(op, at)), None)
        if operator is None:
            raise BadQuery(f"one of = != =~ !~ is missing at character {at + 1} of {text!r}")
        at += len(operator)
        value = _STRING.match(text, at, end)
        if value is None:
            raise BadQuery(f"a value in double quotes is missing at character {at + 1} of {text!r}")
        at = value.end()
        found.append(make(name[1], operator, _unescape(value[1])))
        if at < end and text[at] != ",":
            raise BadQuery(f"a comma is missing at character {at + 1} of {text!r}")
        at += 1
    return tuple(found)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), text)
