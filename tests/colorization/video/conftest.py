import re
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn


def find_ffmpeg():
    """The command line that judges what PyAV has written: the system's, or that of the wheel imageio-ffmpeg."""
    found = shutil.which('ffmpeg')
    if found is None:
        try:
            import imageio_ffmpeg
        except ImportError:
            return None
        found = imageio_ffmpeg.get_ffmpeg_exe()
    return found


@dataclass(frozen=True)
class Shown:
    """What ffmpeg says of a film: when each frame is shown, in seconds, and a checksum of its luma."""

    times: list
    lumas: list
    report: str


class FakeNetwork(nn.Module):
    """Colours that depend on place and lightness, and by a little on every pixel, so that frames flicker."""

    inference_size = 64

    def __init__(self, flicker=0.0):
        super().__init__()
        self.flicker = flicker
        self.calls = 0

    def forward(self, l):
        self.calls += 1
        height, width = l.shape[2:]
        across = torch.linspace(-40, 40, width).expand(l.shape[0], 1, height, width)
        down = torch.linspace(-30, 30, height)[:, None].expand(l.shape[0], 1, height, width)
        shake = self.flicker * (-1) ** self.calls
        return torch.cat([across * l / 100 + shake, down * l / 100 - shake], dim=1)


@pytest.fixture(scope='session')
def ffmpeg():
    path = find_ffmpeg()
    if path is None:
        pytest.skip('there is no ffmpeg: neither the command nor the package imageio-ffmpeg')

    def run(*arguments):
        done = subprocess.run([path, '-y', '-nostdin', '-hide_banner', *map(str, arguments)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode(errors='replace')[-2000:]
        return done.stderr.decode(errors='replace')

    return run


@pytest.fixture(scope='session')
def show(ffmpeg):
    def read(path):
        report = ffmpeg('-noautorotate', '-copyts', '-i', path, '-map', '0:v:0', '-fps_mode', 'passthrough',
                        '-vf', 'showinfo', '-f', 'null', '-')  # fmt: skip
        found = re.findall(r'pts_time:(\S+).*?plane_checksum:\[(\w+)', report)
        return Shown([float(time) for time, _ in found], [luma for _, luma in found], report)

    return read


@pytest.fixture(scope='session')
def fake_network():
    return FakeNetwork


@pytest.fixture
def colorizer():
    from colorization.pipeline import Colorizer

    return Colorizer(FakeNetwork(), size=64)


@pytest.fixture
def make_film(ffmpeg, tmp_path):
    """Let ffmpeg make a small film; keywords are its options before the output."""

    def make(name, *options, size='48x32', rate=25, frames=8, audio=0, source='testsrc2'):
        path = tmp_path / name
        # noise, so that no two frames are alike
        inputs = ['-f', 'lavfi', '-i', f'{source}=s={size}:r={rate},format=yuv444p,noise=alls=25:allf=t']
        for number in range(audio):
            inputs += ['-f', 'lavfi', '-i', f'sine=f={300 + 200 * number}:r=44100']
        maps = [item for number in range(audio + 1) for item in ('-map', str(number))]
        ffmpeg(*inputs, *maps, '-t', f'{frames / eval_rate(rate):.6f}', *options, path)
        return path

    return make


def eval_rate(rate):
    top, _, bottom = str(rate).partition('/')
    return float(top) / float(bottom or 1)


@pytest.fixture
def colorize_film(colorizer):
    from colorization.video.job import FilmJob
    from colorization.video.reading import open_film
    from colorization.video.writing import Codec

    def run(source, out, lossless=True, **options):
        codec = Codec(lossless)
        film = open_film(source, codec.needs_even_sizes, options.pop('allow_truncated', False))
        job = FilmJob(film, out, options.pop('colorizer', colorizer), codec, **options)
        job.run(lambda *progress: None)
        return job

    return run


def read_planes(path):
    """All frames of a film as PyAV decodes them: lists of (Y, Cb, Cr)."""
    import av

    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
            planes = []
            for plane in frame.planes:
                rows = np.frombuffer(plane, kind).reshape(plane.height, -1)
                planes.append(rows[:, : plane.width].copy())
            frames.append(planes)
    return frames


@pytest.fixture(scope='session')
def planes_of():
    return read_planes
