"""Who uses it: the chat."""
