"""Words to numbers: the tokenizer's door, and lockstep lists packed into batches."""
