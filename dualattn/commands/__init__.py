"""The command `dualattn VERB`, and the verbs that belong to no other package.

Each verb is a module with `main(argv: Sequence[str] | None = None) -> int`, which loads what is heavy only when its
arguments are understood. Packages declare theirs as entry points of the group `dualattn.commands`.
"""
