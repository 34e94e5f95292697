"""What a person sees of finished or running runs: a page, or a terminal's text."""
