"""One photograph of many from file to file: read, colorize, write."""

from collections.abc import Callable

from colorization.jobs import Job
from colorization.sheet import join_pair
from dualattn.io.photos import MAX_PIXELS, Photo, read_photo, write_photo


def run_job(
    job: Job, colorizer: Callable[[Photo], Photo], overwrite: bool = False, max_pixels: int = MAX_PIXELS
) -> None:
    """Write the outputs of a job that are missing, with `overwrite` all.

    Raises:
        ImageError: the source cannot be read, or an output cannot hold it.
        FileExistsError: there is a pair without its target, which may be somebody's photograph.
        OSError: an output cannot be written.
    """
    photo = read_photo(job.source, max_pixels)
    result = colorizer(photo)
    if overwrite or not job.target.exists():
        write_photo(result, job.target, overwrite)
    if job.pair is not None:
        write_photo(join_pair(photo, result), job.pair, overwrite)
