"""Base models and exports on the Hugging Face hub: looked at, fetched, sent, and their licences."""
