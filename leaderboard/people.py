"""Who looks at the page, and what they may do."""


def name() -> str:
    """Return who signed in; empty where nobody has to."""
    return ""


def may_act() -> bool:
    """Return whether this visitor may stop runs, vote, and have answers judged again."""
    return True
