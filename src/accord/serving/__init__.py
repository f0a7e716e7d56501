"""Serving: the API and the chat through which people use the models."""
