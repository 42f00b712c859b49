"""Damaged files of every format: refused or read, and nothing else. tools/fuzz_photos.py reads as many as one likes."""

from dualattn.io.photos.fuzzing import fuzz, make_file, make_seeds
from dualattn.io.photos.reading import read_photo


def test_every_seed_is_a_photograph_and_every_file_the_same_again(tmp_path):
    seeds = make_seeds()
    assert len(seeds) > 35
    for name, data in seeds.items():
        (tmp_path / 'a').write_bytes(data)
        assert read_photo(tmp_path / 'a').pixels.shape[:2] in ((24, 32), (32, 24)), name
    again = make_seeds()
    files = [make_file(seed, seeds) for seed in range(50)]
    assert files == [make_file(seed, again) for seed in range(50)]
    assert sum(data != seeds[name] for name, data in files) > 40  # a zero may be written over a zero


def test_no_damage_ends_or_hangs_a_process():
    report = fuzz(2000, first=100_000)
    assert report.total == 2000 and report.faults == []
    assert report.peak_bytes < 1 << 30
    assert report.decoded >= 600  # else the damages would be refused at the door, and tell nothing
