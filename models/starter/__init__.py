"""Three tiny base models, Falcon, Mistral and Llama by architecture, small enough to live in the
repository."""
