"""Feed the codec bytes that a fuzzer finds interesting: `make fuzz-codec`, ten minutes.

Whatever the bytes, decoding ends in a value or in `MalformedError`, within a second and a
gigabyte, and what was decoded can be encoded, shown and compared without any other exception
than the codec's own.
"""

import sys

import atheris

with atheris.instrument_imports():
    from eval_sandbox import codec, comparison


def one_input(data: bytes) -> None:
    """Decode, encode and compare."""
    try:
        value = codec.decode(data, lambda tag, number: (tag, number))
    except codec.MalformedError:
        return
    comparison.render(value)
    comparison.same(value, value)
    try:
        again = codec.decode(codec.encode(value, 1 << 22))
    except (codec.NotDataError, codec.TooLargeError, codec.MalformedError, codec.CutShortError):
        return
    comparison.same(value, again)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], "-timeout=1", "-rss_limit_mb=1024", *sys.argv[1:]], one_input)
    atheris.Fuzz()
