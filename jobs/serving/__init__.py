"""What `python -m jobs serve` answers: its routes, who may come in, and how refusals read."""
