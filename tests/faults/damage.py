"""What a disk, a copy that broke off, or a hand does to the bytes of a file."""

from collections.abc import Callable
from random import Random

PAGE = 4096  # bytes that a disk writes at once

Damage = Callable[[Random, bytes], bytes]


def _flipped(random: Random, content: bytes) -> bytes:
    place, bit = random.randrange(len(content)), random.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def _overwritten(random: Random, content: bytes) -> bytes:
    place, junk = random.randrange(len(content)), random.randbytes(random.randint(1, 16))
    return (content[:place] + junk + content[place + len(junk) :])[: len(content)]


def _page_lost(random: Random, content: bytes) -> bytes:
    start = PAGE * random.randrange(-(-len(content) // PAGE))
    return content[:start] + bytes(len(content[start : start + PAGE])) + content[start + PAGE :]


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))]


def _appended(random: Random, content: bytes) -> bytes:
    return content + random.randbytes(random.randint(1, 100))


def _repeated(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content))
    return content[:start] + content[start : start + random.randint(1, PAGE)] + content[start:]


def _swapped(random: Random, content: bytes) -> bytes:
    """Return the file with two of its bytes exchanged: a sum that only adds would not see it."""
    first, second = sorted(random.randrange(len(content)) for _ in range(2))
    changed = bytearray(content)
    changed[first], changed[second] = changed[second], changed[first]
    return bytes(changed)


DAMAGES: dict[str, Damage] = {
    "a flipped bit": _flipped,
    "bytes overwritten": _overwritten,
    "a page lost": _page_lost,
    "cut short": _cut,
    "junk at the end": _appended,
    "a part twice": _repeated,
    "two bytes exchanged": _swapped,
}
