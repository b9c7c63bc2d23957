"""Bytes, as people read them."""

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def amount(size: float) -> str:
    """Return `512 bytes`, `1.5 MB`: three digits at most before the point, one after it."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[0]}" if unit == 0 else f"{size:.1f} {UNITS[unit]}"
