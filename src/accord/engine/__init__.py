"""What generates. The local engine satisfies ``protocols.Sampler``."""
