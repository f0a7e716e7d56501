"""What is trained: decoders run padding-free, scalar heads, adapters, loading and saving. No loss and no optimiser here."""
