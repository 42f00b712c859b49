"""One photograph of many from file to file: read, colorize, write."""

from colorization.jobs import Job
from colorization.pipeline import Colorizer
from colorization.sheet import draw_doubt, join_grid, join_pair
from dualattn.io.photos import MAX_PIXELS, Photo, read_photo, write_photo


def run_job(
    job: Job, colorizer: Colorizer, overwrite: bool = False, max_pixels: int = MAX_PIXELS, count: int = 6, seed: int = 0
) -> None:
    """Write the outputs of a job that are missing, with `overwrite` all.

    Args:
        job: the photograph and its outputs.
        colorizer: has a palette where the job asks for variants or doubt.
        overwrite: replace outputs that exist.
        max_pixels: larger photographs are refused.
        count: number of variants on a sheet.
        seed: of the variants.

    Raises:
        ImageError: the source cannot be read, or an output cannot hold it.
        FileExistsError: there is a picture beside a target that is missing, which may be somebody's photograph.
        OSError: an output cannot be written.
        TypeError: variants or doubt are asked of a network without a palette.
    """
    photo = read_photo(job.source, max_pixels)
    result = colorizer(photo)
    is_new = overwrite or not job.target.exists()
    if is_new:
        write_photo(result, job.target, overwrite)
    singles = [kind for kind in job.beside if kind[-1].isdigit()]
    wanted = count if 'variants' in job.beside else len(singles)
    variants = colorizer.draw_variants(photo, wanted, seed) if wanted else []
    pictures = {f'variant{number}': variant for number, variant in enumerate(variants, start=1)}
    for kind, path in job.beside.items():
        if not is_new and path.exists():
            continue
        write_photo(_draw(kind, photo, result, pictures, colorizer), path, overwrite)


def _draw(kind: str, photo: Photo, result: Photo, variants: dict[str, Photo], colorizer: Colorizer) -> Photo:
    if kind == 'compare':
        return join_pair(photo, result)
    if kind == 'variants':
        return join_grid([result, *variants.values()])
    if kind == 'doubt':
        return draw_doubt(photo, colorizer.measure_doubt(photo))
    return variants[kind]
