"""The chat page: server-rendered, safe without scripts, in the house of the labeling site. No torch."""
