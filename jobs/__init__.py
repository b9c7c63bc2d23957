"""The work: an experiment becomes runs; a run is prepared, trained, asked, judged and recorded.

Reading order is running order: `experiment`, `pipeline`, `prepare`, `train`, `generate`, `judge`,
`record`, `results`.
"""
