"""Text generation. The local engine satisfies ``protocols.Sampler``."""
