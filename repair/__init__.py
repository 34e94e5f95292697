"""repair: train small language models to repair broken Python with a line editor.

Reproduces "Chain-of-Edits" (Rainone, Bakker, Memisevic 2025, arXiv 2507.05065).
"""
