"""Read JSON one value at a time from a stream, so that a document of any size is never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn, TextIO

CHUNK = 1 << 20
"""Characters read at once."""


_BEGINNINGS = {
    whole[:length]
    for whole in ("true", "false", "null", "NaN", "-Infinity", ".", "e+", "e-", "E+", "E-")
    for length in range(len(whole) + 1)
}
"""The beginnings of words and numbers: where a text is cut inside a value, it may end with one of these."""


class NotJSON(Exception):
    """The stream holds something that is not JSON; the message says what."""


class CutShort(NotJSON):
    """The stream ends before its JSON does."""


class JSONStream:
    """A JSON document that is read from its beginning to its end; what has been read is not kept.

    To pass a token or a value is to go on behind it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._ended = False
        self._decode = JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def token(self) -> str:
        """The next character that is no white space, without passing it; `""` at the end of the document."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read_on()

    def passes(self, token: str) -> bool:
        """Pass this token if it is the next one; return whether it was."""
        if self.token() != token:
            return False
        self._at += 1
        return True

    def expect(self, token: str) -> None:
        """Pass this token; NotJSON if the next one is another, CutShort if the document ends here."""
        if self.passes(token):
            return
        if not self.token():
            raise CutShort(f"it ends where {token!r} must be")
        raise NotJSON(f"{self.token()!r} stands where {token!r} must be")

    def value(self) -> Any:
        """Pass the next value and return it; NotJSON if there is none, CutShort if the document ends within it."""
        self.token()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except JSONDecodeError as error:
                # Wrong at the end of what was read may be right when more is; wrong before that stays wrong.
                if not self._unfinished(error):
                    raise NotJSON(error.msg[:1].lower() + error.msg[1:]) from None
                if self._ended:
                    raise CutShort("it ends within a value") from None
            except (ValueError, RecursionError) as error:  # an endless number, or brackets within brackets
                raise NotJSON(str(error)) from None
            else:
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            self._read_on()

    def key(self) -> str:
        """Pass the next key of an object and the colon behind it, and return the key."""
        if self.token() not in ('"', ""):
            raise NotJSON(f"{self.token()!r} stands where a key must be")
        key: str = self.value()
        self.expect(":")
        return key

    def items(self) -> Iterator[Any]:
        """The values of the list that comes next; a value is passed when it is asked for."""
        self.expect("[")
        first = True
        while not self.passes("]"):
            if not first:
                self.expect(",")
            first = False
            yield self.value()

    def _unfinished(self, error: JSONDecodeError) -> bool:
        if error.msg.startswith("Unterminated string"):
            return True
        rest = len(self._text) - error.pos
        return rest < 7 and (error.msg.startswith("Invalid \\") or self._text[error.pos :] in _BEGINNINGS)

    def _read_on(self) -> None:
        # At least as much again: one enormous value is then decoded a few times, and not once a chunk.
        rest = self._text[self._at :]
        try:
            more = self._stream.read(max(CHUNK, len(rest)))
        except UnicodeDecodeError:
            raise NotJSON("it is not even text in UTF-8") from None
        self._text, self._at, self._ended = rest + more, 0, not more


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
