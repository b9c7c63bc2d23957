"""From raw sources to rows worth training on: read, sifted, judged, deduplicated, counted."""
