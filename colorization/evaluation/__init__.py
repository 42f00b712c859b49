"""Scores of any method's pictures: two folders, one protocol, one record, and the papers' rows beside it."""
