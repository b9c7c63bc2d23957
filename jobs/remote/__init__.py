"""Models behind OpenAI-compatible servers, asked over HTTP. Needs no torch."""
