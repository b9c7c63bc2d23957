"""Weights on their way out: a card, a folder, an adapter merged into its base."""
