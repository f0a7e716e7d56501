"""Commands of the room; see the table in accord.commands."""
