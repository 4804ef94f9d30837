"""Buckets and the ids that carry them.

Every record of a member and her referrals lives in one bucket (0..1023), the first column of its
keys, so that the same schema can be spread over machines later (docs/decisions/0007). An id we
mint says its bucket in its first two characters; any other id hashes to one.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from operator import mul

BUCKETS = 1024
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_DIGIT = {letter: number for number, letter in enumerate(_ALPHABET)}
_BODY = 16  # characters of randomness, 80 bits
_LENGTH = 2 + _BODY + 1
_PLACES = range(1, _LENGTH)


def bucket_of_key(key: str) -> int:
    """The bucket of a member number or any other text."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % BUCKETS


def mint(bucket: int, randomness: bytes) -> str:
    """An id in this bucket from at least ten random bytes: two characters, body, check character.

    It is a valid FHIR id. `bucket_of` reads the bucket back.
    """
    number = int.from_bytes(randomness[:10])
    body = "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(_BODY))
    stem = _ALPHABET[bucket >> 5] + _ALPHABET[bucket & 31] + body
    return stem + _check(stem)


@lru_cache(maxsize=65536)
def bucket_of(resource_type: str, resource_id: str) -> int:
    """The bucket of a stored resource: read from an id of ours, else hashed from `Type/id`."""
    if (
        len(resource_id) == _LENGTH
        and all(letter in _DIGIT for letter in resource_id)
        and _check(resource_id[:-1]) == resource_id[-1]
    ):
        return _DIGIT[resource_id[0]] << 5 | _DIGIT[resource_id[1]]
    return bucket_of_key(f"{resource_type}/{resource_id}")


def _check(stem: str) -> str:
    return _ALPHABET[sum(map(mul, _PLACES, map(_DIGIT.__getitem__, stem))) % 31]
