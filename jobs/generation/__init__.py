"""How a model writes answers: rows, draws, ends, and the seats where many are written."""
