"""Values as bytes between a candidate's process and the judge: tagged, bounded, data only.

Neither pickle nor marshal: decoding builds plain values of builtin types and nothing else, so
a hostile process can send a wrong answer but no behaviour. When a value is encoded, subclasses
decay to their base type by methods of the base type: an `__eq__` of their own stays behind.
What is no data crosses as a number, by the two hooks: an object of the candidate's own class
becomes a handle, a function that a test passes in becomes a call-back.

A value is one tag byte and its content; lengths and counts are 4 bytes, little-endian, and are
checked against the bytes that remain before anything is built. Decoding n bytes takes at most
about 64 n bytes of memory (an empty set is 5 bytes here and 216 there).
"""

from eval_sandbox.decoding import decode
from eval_sandbox.encoding import digest, encode
from eval_sandbox.tags import (
    CALLBACK,
    HANDLE,
    MAX_DEPTH,
    MAX_DRAWN,
    SHARED,
    TRUTHY,
    CutShortError,
    MalformedError,
    NotDataError,
    TooLargeError,
    type_name,
)

__all__ = [
    "CALLBACK",
    "HANDLE",
    "MAX_DEPTH",
    "MAX_DRAWN",
    "SHARED",
    "TRUTHY",
    "CutShortError",
    "MalformedError",
    "NotDataError",
    "TooLargeError",
    "decode",
    "digest",
    "encode",
    "type_name",
]
