"""What each command does with a project: open what it needs, write_snapshot what it learns from, train, save with lineage.

The lower half of the command line (cli is flags and tables), and the one place where the store, the models, the engine, the
algorithms and the judge meet. Only cli imports it.
"""
