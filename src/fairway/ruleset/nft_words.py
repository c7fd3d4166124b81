"""Words of an nft listing, and a reader over the words of one rule."""

from __future__ import annotations

import re
from collections.abc import Callable

WORD = re.compile(r'"[^"]*"|[{}(),]|[^\s{}(),"]+')
"""A quoted text, a bracket, a comma, or whatever stands between blanks. A `:` that is not in a word stands alone, as
does a `.`: nft puts blanks around both."""

INVALID = " [invalid type]"
"""What nft adds to a value whose type it has lost, such as the ports of `ct original proto-dst`; the value is right."""

_TIME = re.compile(r"(\d+)(ms|[dhms])")
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class ParseError(ValueError):
    """The text is no listing of nft. `line` counts from 1; 0: not known."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


class NotUnderstood(Exception):
    """Words that are outside the language known here; the rule keeps them as text."""


def milliseconds(text: str) -> int:
    """`1d2h`, `250ms`, or plain seconds. Raises NotUnderstood."""
    if text.isdigit():
        return int(text) * 1000
    found = _TIME.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise NotUnderstood(text)
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in found)


def unquoted(word: str) -> str:
    return word[1:-1] if word.startswith('"') else word


class Words:
    """The words of a rule, read from left to right."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = WORD.findall(text.replace(INVALID, ""))
        self.at = 0

    @property
    def done(self) -> bool:
        return self.at >= len(self.words)

    def peek(self, ahead: int = 0) -> str:
        """A word to come, "" behind the last."""
        try:
            return self.words[self.at + ahead]
        except IndexError:
            return ""

    def next(self) -> str:
        """The next word. Raises NotUnderstood behind the last."""
        if self.done:
            raise NotUnderstood("the rule ends too early")
        self.at += 1
        return self.words[self.at - 1]

    def take(self, word: str) -> bool:
        """Whether the next word is this one; if so it is read."""
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def expect(self, word: str) -> None:
        """Read this word. Raises NotUnderstood."""
        if not self.take(word):
            raise NotUnderstood(f"{self.peek()!r} stands where {word!r} should")

    def number(self) -> int:
        """A number, decimal or hexadecimal. Raises NotUnderstood."""
        word = self.next()
        try:
            return int(word, 0)
        except ValueError:
            raise NotUnderstood(word) from None

    def text_since(self, start: int) -> str:
        """The words from an earlier place on, as nft would space them."""
        return spaced(self.words[start : self.at])

    def skip_while(self, wanted: Callable[[str], bool]) -> None:
        """Pass over words, and over whole braces, as long as they are wanted."""
        depth = 0
        while not self.done and (depth or wanted(self.peek())):
            depth += {"{": 1, "}": -1}.get(self.next(), 0)


def spaced(words: list[str]) -> str:
    """Words as one text: commas close to what they follow, and without a blank after them outside of braces."""
    text, depth = "", 0
    for place, word in enumerate(words):
        before = words[place - 1] if place else "("
        depth += {"{": 1, "}": -1}.get(word, 0)
        close = word in (",", ")") or before == "(" or (before == "," and not depth)
        text += word if close else f" {word}"
    return text
