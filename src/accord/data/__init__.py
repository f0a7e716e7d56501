"""What comes in: importers, tokenizers, chat formats and the token corpus."""
