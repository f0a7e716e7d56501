"""Incoming data: importers, tokenizers, chat formats and the token corpus."""
