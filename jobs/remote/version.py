"""How we ask a vLLM that we started: part of the contract, needed where no torch is."""

VLLM_ASKING_VERSION = 1
"""Raised by hand when the same weights and the same asking would give other text."""
