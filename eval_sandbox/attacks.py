"""Programs that are wrong, or that try to get out: each attacks one property.

They are written so that success shows in the verdict: a program that reaches what it should not
reach returns the right answer, one that is contained returns a wrong one. So an attack got
through when its outcome is not among the expected ones. A name completes "withstands a program
that ...".
"""

from eval_sandbox.attacks_codec import CODEC_ATTACKS
from eval_sandbox.attacks_common import CALLS, CANARY, MARKER, Attack
from eval_sandbox.attacks_containment import CONTAINMENT_ATTACKS
from eval_sandbox.attacks_leftover import LEFTOVER_ATTACKS
from eval_sandbox.attacks_time import TIME_AND_SPACE_ATTACKS
from eval_sandbox.attacks_verdict import VERDICT_ATTACKS

__all__ = [
    "ATTACKS",
    "CALLS",
    "CANARY",
    "CODEC_ATTACKS",
    "CONTAINMENT_ATTACKS",
    "LEFTOVER_ATTACKS",
    "MARKER",
    "TIME_AND_SPACE_ATTACKS",
    "VERDICT_ATTACKS",
    "Attack",
]

ATTACKS: dict[str, Attack] = {
    **VERDICT_ATTACKS,
    **CODEC_ATTACKS,
    **TIME_AND_SPACE_ATTACKS,
    **CONTAINMENT_ATTACKS,
    **LEFTOVER_ATTACKS,
}
