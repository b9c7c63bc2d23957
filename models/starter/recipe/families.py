"""All families, in the order in which the benchmark lists them."""

from models.starter.recipe import families_lists, families_numbers, families_text

FAMILIES = (*families_lists.FAMILIES, *families_text.FAMILIES, *families_numbers.FAMILIES)
WORDS = tuple(
    sorted(
        {
            word
            for family in FAMILIES
            for parts in family.slots.values()
            for part in parts
            for word in (part.key if part.word is None else part.word).split("_")
            if word and " " not in word
        }
    )
)
"""Fragments of function names."""
