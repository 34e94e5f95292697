"""Views of finished or running runs: one HTML page, or text in a terminal."""
