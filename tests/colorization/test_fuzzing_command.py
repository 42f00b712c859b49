"""Damaged photographs through the command: each is named or done, and none ends the run."""

from colorization.fuzzing import fuzz_command


def test_command_has_an_outcome_for_each_damaged_photograph():
    report = fuzz_command(120, 300_000)
    assert report.faults == [] and report.states.total() == 120
    assert report.states['failed'] > 20 and report.states['done'] > 20
