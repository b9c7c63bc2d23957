"""One training: rows and a base in, weights out. Runs under Ray, under torchrun, or alone.

Nothing here imports ray, pydantic, SQLAlchemy or pyarrow: a machine with torch, transformers and
peft can train, and measure it.
"""
