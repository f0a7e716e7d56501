"""The models that are trained: padding-free decoders, scalar heads, adapters, loading and saving. No loss and no
optimiser here."""
