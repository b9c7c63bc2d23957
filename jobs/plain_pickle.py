"""The text in a pickle that holds nothing but one text; every other pickle is refused unread.

LiveCodeBench publishes its hidden tests so. Loading a pickle runs what its author wrote into it, so
none is ever loaded here: `pickletools` lists its instructions, and only those that a text needs are
known.
"""

import pickletools

_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"})


class RefusedPickleError(ValueError):
    """A pickle that is more than one text; the message says what is in it."""


def text_of_pickle(content: bytes) -> str:
    """The text that a pickle holds.

    Raises:
        RefusedPickleError: it holds anything else, or is no pickle.
    """
    texts: list[str] = []
    try:
        for instruction, value, _ in pickletools.genops(content):
            if instruction.name in _TEXTS:
                texts.append(str(value))
            elif instruction.name not in _WITHOUT_EFFECT:
                raise RefusedPickleError(
                    f"a pickle with {instruction.name} in it, which may run code; only one that "
                    "holds a text is read"
                )
    except RefusedPickleError:
        raise
    except (ValueError, IndexError, OverflowError) as error:
        raise RefusedPickleError(f"no pickle of a text ({error})") from None
    if len(texts) != 1:
        raise RefusedPickleError(f"a pickle of {len(texts)} texts; one is expected")
    return texts[0]
