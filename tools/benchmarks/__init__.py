"""What `tools/benchmark.py` measures, a module for each subject.

Each has `add_commands(commands)`, which adds its parsers; a parser's default `measure` takes the parsed arguments and
returns rows, its default `show` prints them. What a subject alone needs is imported where it measures, so that the
operators and backbones can be measured where nothing but torch and timm is installed.
"""
