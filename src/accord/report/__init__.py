"""One self-contained HTML page about a project: metrics with intervals, curves, answers side by side, lineage
and settings."""
