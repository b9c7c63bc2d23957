"""How the starter data and the starter models were made, from a seed and without the network.

Reading order: `grammar` (what a family of problems is), `families_*` (the families), `problems`
(training rows and benchmark), `corpus` (what the models are pretrained on), `tokenizer`,
`pretrain`, `cards`.
"""

SEED = 20_260
"""Every random choice of the recipe follows from this number."""
