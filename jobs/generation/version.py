"""Which engine wrote an answer: part of the contract, needed where no torch is."""

ENGINE = "transformers"
"""Its name in contracts: ours, on transformers' models."""
ENGINE_VERSION = 4
"""Raised by hand when the same weights and the same asking would give other text."""
