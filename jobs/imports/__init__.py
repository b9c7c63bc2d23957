"""Files of answers that others made: one module for each way of writing them."""
