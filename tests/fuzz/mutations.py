"""Ways to spoil a saved trace: in a value, a row, a reference, a key or a byte; the same for the same seed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

Document = dict[str, Any]
Place = tuple[Any, Any]
"""A list or an object, and the index or the key of a part of it."""

NUMBERS = (
    -1,
    0,
    1,
    2,
    -(2**31),
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e308,
    -1e308,
)
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\x1b[31m",
        "\ud800",
        "\u202e",
        "\r\n",
        "\u2028",
        "\ufffe",
        "a\tb",
        "あ" * 300,
        "e" + "\u0301" * 200,
    ),
    *(
        "</script><script>alert(1)</script>",
        "<!--",
        "]]>",
        "&amp;",
        "`|*_[x](y)`",
        "[red]x[/red]",
        '"',
        "'",
        "\\",
        "%%",
    ),
    *(
        "=1+1",
        "@cmd",
        "forward",
        "__call__",
        "None",
        "../../etc/passwd",
        "/dev/zero",
        "layer.0",
        "x" * 5000,
        "{{}}",
        "-1",
    ),
)
OTHERS = (None, True, False, [], {}, [None], {"shape": []}, [[[[]]]], {"": ""}, [0], ["x"])


def places_in(value: Any) -> list[Place]:
    """Every part of a document, each followed by its own parts."""
    places: list[Place] = []
    _add_places(value, places)
    return places


def _add_places(value: Any, places: list[Place]) -> None:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        places.append((value, key))
        if isinstance(part, (dict, list)):
            _add_places(part, places)


def another_value(document: Document, chance: Random) -> None:
    """Put an extreme number, an odd text or a value of another kind in the place of a part."""
    within, key = chance.choice(places_in(document))
    within[key] = copy.deepcopy(chance.choice(chance.choice((NUMBERS, TEXTS, OTHERS))))


def another_of_its_kind(document: Document, chance: Random) -> None:
    """Put an extreme number in the place of a number, an odd text in the place of a text."""
    places = [place for place in places_in(document) if isinstance(place[0][place[1]], (int, float, str))]
    within, key = chance.choice(places)
    within[key] = chance.choice(TEXTS if isinstance(within[key], str) else NUMBERS)


def moved_value(document: Document, chance: Random) -> None:
    """Copy one part of the document over another."""
    places = places_in(document)
    (source, name), (target, key) = chance.choice(places), chance.choice(places)
    target[key] = copy.deepcopy(source[name])


def left_out(document: Document, chance: Random) -> None:
    """Leave a part out."""
    within, key = chance.choice(places_in(document))
    del within[key]


def repeated_rows(document: Document, chance: Random) -> None:
    """Repeat some rows of a list, drop some, or put them in another order."""
    lists = [within[key] for within, key in places_in(document) if isinstance(within[key], list) and within[key]]
    rows = chance.choice(lists)
    rows[:] = copy.deepcopy(chance.choices(rows, k=chance.randrange(2 * len(rows) + 1)))


def other_references(document: Document, chance: Random) -> None:
    """Let a few rows have another id, parent, depth or call."""
    rows = [row for key in ("calls", "ops", "findings") for row in document.get(key, [])]
    ids = [row["id"] for row in document["calls"]]
    for row in chance.choices(rows, k=chance.choice((1, 1, 3))):
        key = chance.choice([key for key in ("id", "parent", "depth", "call", "nth") if key in row])
        row[key] = chance.choice((None, -1, *ids, ids[-1] + 1, 10**6))


def unknown_key(document: Document, chance: Random) -> None:
    """Add a key that no format has."""
    objects = [within[key] for within, key in places_in(document) if isinstance(within[key], dict)]
    chance.choice(objects)[chance.choice(TEXTS)] = copy.deepcopy(chance.choice(OTHERS))


VALUES: tuple[Callable[[Document, Random], None], ...] = (
    *(another_value, another_of_its_kind, another_of_its_kind, moved_value, left_out),
    *(repeated_rows, other_references, unknown_key),
)


def cut(text: bytes, chance: Random) -> bytes:
    """End the file somewhere."""
    return text[: chance.randrange(len(text))]


def other_bytes(text: bytes, chance: Random) -> bytes:
    """Change some bytes, most to what has a meaning in JSON."""
    spoilt = bytearray(text)
    for _ in range(chance.choice((1, 2, 8))):
        spoilt[chance.randrange(len(spoilt))] = chance.choice(b'{}[],:"\\0-eE.nN\x00\x1b\x80\xff \n')
    return bytes(spoilt)


def inserted(text: bytes, chance: Random) -> bytes:
    """Put something into the file: a key again, brackets without end, numbers that are none, marks of an encoding."""
    at = chance.choice([index for index, byte in enumerate(text) if byte in b"{[,"]) + 1
    more = chance.choice(
        (
            *(b'"calls": [],', b'"id": 1, "id": 2,', b"[" * 2000, b'{"a":' * 2000, b"[" * 900 + b"]" * 900 + b","),
            *(
                b"NaN,",
                b"-Infinity,",
                b"1e999,",
                b"9" * 5000 + b",",
                b"\xef\xbb\xbf",
                b"\xff\xfe",
                b"// x\n",
                b"'a': 1,",
            ),
        )
    )
    return text[:at] + more + text[at:]


def encoded(text: bytes, chance: Random) -> bytes:
    """Write the text in another encoding, or with a mark before it."""
    ways = ("utf-16", "utf-32", "utf-7", "utf-8-sig")
    return text.decode().encode(chance.choice(ways))


BYTES = (cut, other_bytes, other_bytes, inserted, encoded)


def spoilt(document: Document, chance: Random) -> bytes:
    """The file of a trace with one to three things in it that are not as they were."""
    changed = json.loads(json.dumps(document))  # a copy, in a tenth of the time that deepcopy takes
    for _ in range(chance.choice((1, 1, 2, 3))):
        try:
            chance.choice(VALUES)(changed, chance)
        except (IndexError, KeyError, TypeError, AttributeError):
            continue  # what this would spoil, another has taken away
    text = json.dumps(changed, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return chance.choice(BYTES)(text, chance) if chance.random() < 0.15 and text.isascii() else text
