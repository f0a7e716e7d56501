"""The chat page: server-rendered, safe without scripts, inside the labeling site's application. No torch."""
