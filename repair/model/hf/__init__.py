"""Weights in and out, in Hugging Face's formats."""
