"""What a model speaks with over several turns: users, tools, games. Opened by name, run many at once, and limited in time."""
