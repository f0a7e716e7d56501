"""Services that every command calls: projects, runs, checkpoints, seeds, devices, lineage, progress. Nothing
here calls a command.

``files``, ``project``, ``progress`` and ``lineage`` start without torch; ``checkpoints``, ``device`` and
``seeds`` load it when called.
"""
