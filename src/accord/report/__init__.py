"""One self-contained HTML page about a project: figures with intervals, curves, answers side by side, lineage and settings."""
