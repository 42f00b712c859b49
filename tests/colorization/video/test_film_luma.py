"""The luma of a film bit for bit, its times and marks; ffmpeg's command line is the judge."""

import re

import numpy as np
import pytest

av = pytest.importorskip('av')

from colorization.video.reading import open_film  # noqa: E402

X264 = ('-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p')


def mark(space, value):
    """Options that mark a film's colours."""
    return ('-colorspace', space, '-color_primaries', space, '-color_trc', space, '-color_range', value)


CASES = {
    '25': dict(options=X264),
    '29.97': dict(options=X264, rate='30000/1001'),
    'many B-frames': dict(options=(*X264, '-bf', '4', '-b_strategy', '0'), frames=14),
    'variable rate': dict(options=('-vf', "select='not(mod(n,3)*mod(n,5))'", '-fps_mode', 'vfr', *X264), frames=20),
    '709, limited': dict(options=(*X264, *mark('bt709', 'tv'))),
    '601, limited': dict(options=(*X264, *mark('smpte170m', 'tv'))),
    '601, full': dict(options=(*X264[:-1], 'yuvj420p', *mark('smpte170m', 'pc'))),
    '709, full': dict(options=(*X264[:-1], 'yuvj420p', *mark('bt709', 'pc'))),
    '10 bit': dict(options=(*X264[:-1], 'yuv420p10le', *mark('bt709', 'tv'))),
    '10 bit, 4:2:2, full': dict(
        options=('-c:v', 'ffv1', '-pix_fmt', 'yuv422p10le', '-color_range', 'pc'), name='f.mkv'
    ),
    '4:2:2': dict(options=(*X264[:-1], 'yuv422p')),
    '4:4:4': dict(options=(*X264[:-1], 'yuv444p')),
    '12 bit': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'yuv420p12le'), name='f.mkv'),
    'odd sizes': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'yuv420p'), name='f.mkv', size='47x33'),
    'odd sizes, 10 bit': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'yuv420p10le'), name='f.mkv', size='33x35'),
    'gray': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'gray'), name='f.mkv'),
    'gray, 10 bit': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'gray10le'), name='f.mkv'),
    '4:1:1': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'yuv411p'), name='f.mkv'),
    'alpha': dict(options=('-c:v', 'ffv1', '-pix_fmt', 'yuva420p'), name='f.mkv'),
    'packed': dict(options=('-c:v', 'rawvideo', '-pix_fmt', 'uyvy422'), name='f.avi'),
    'packed, 10 bit': dict(options=('-c:v', 'v210', '-pix_fmt', 'yuv422p10le'), name='f.mov'),
    'one frame': dict(options=X264, frames=1),
}


@pytest.mark.parametrize('case', CASES)
def test_luma_and_times(case, make_film, colorize_film, show, tmp_path):
    settings = dict(CASES[case])
    source = make_film(settings.pop('name', 'f.mp4'), *settings.pop('options'), **settings)
    out = tmp_path / 'out.mkv'
    colorize_film(source, out)
    before, after = show(source), show(out)
    assert len(before.times) >= 1
    if case != 'packed':  # whose first plane is not the luma; the next test has it
        assert after.lumas == before.lumas
    assert len(set(before.lumas)) == len(before.lumas), 'frames that are alike would not tell an order that is wrong'
    np.testing.assert_allclose(after.times, before.times, atol=0.0006)  # Matroska counts milliseconds
    describe = re.compile(r'color_range:(\w+) color_space:(\w+) color_primaries:(\w+) color_trc:(\w+)')
    marks = [describe.search(shown.report) for shown in (before, after)]
    if case not in ('gray', 'gray, 10 bit'):  # without a mark they are of the full range, and so the output is marked
        assert marks[0] and marks[0].groups() == marks[1].groups()
    else:
        assert marks[1].group(1) == 'pc'


def test_packed_luma_is_unpacked_exactly(make_film, colorize_film, show, ffmpeg, planes_of, tmp_path):
    source = make_film('f.avi', '-c:v', 'rawvideo', '-pix_fmt', 'uyvy422')
    colorize_film(source, tmp_path / 'out.mkv')
    raw = tmp_path / 'luma'
    ffmpeg('-i', source, '-vf', 'format=yuv422p,extractplanes=y', '-f', 'rawvideo', raw)
    luma = np.stack([planes[0] for planes in planes_of(tmp_path / 'out.mkv')])
    assert luma.tobytes() == raw.read_bytes()


@pytest.mark.parametrize(
    ('pixels', 'size', 'expected'),
    [
        ('yuv420p', '48x32', 'yuv420p'),
        ('yuv410p', '48x32', 'yuv420p'),
        ('yuv411p', '48x32', 'yuv422p'),
        ('yuv422p', '48x32', 'yuv422p'),
        ('yuv440p', '48x32', 'yuv444p'),
        ('yuv444p', '48x32', 'yuv444p'),
        ('gray', '48x32', 'yuv420p'),
        ('yuv420p', '47x33', 'yuv420p'),
        ('yuv420p10le', '48x32', 'yuv420p10le'),
        ('gbrp', '48x32', 'yuv444p'),
    ],
)
def test_chroma_is_no_coarser_than_the_film_has_it(pixels, size, expected, make_film, colorize_film, tmp_path):
    source = make_film('f.mkv', '-c:v', 'ffv1', '-pix_fmt', pixels, size=size, frames=2)
    colorize_film(source, tmp_path / 'out.mkv')
    with av.open(str(tmp_path / 'out.mkv')) as container:
        assert container.streams.video[0].pix_fmt == expected


@pytest.mark.parametrize(('size', 'expected'), [('47x32', 'yuv444p'), ('48x33', 'yuv422p'), ('48x32', 'yuv420p')])
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.mov'])
def test_h264_has_size_and_times_of_the_film(size, expected, suffix, make_film, colorize_film, show, tmp_path):
    source = make_film(
        'f.mkv', '-c:v', 'ffv1', '-pix_fmt', 'yuv420p', '-c:a', 'aac', size=size, rate='30000/1001', audio=1
    )
    out = tmp_path / f'out{suffix}'
    colorize_film(source, out, lossless=False)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ('h264', expected)
        assert f'{stream.width}x{stream.height}' == size
        assert [each.codec_context.name for each in container.streams.audio] == [
            each.codec_context.name for each in av.open(str(source)).streams.audio
        ]
    before, after = show(source), show(out)
    np.testing.assert_allclose(after.times, before.times, atol=0.0011)


@pytest.mark.parametrize('picture', ['null', 'gblur=3'])  # noise, of which CRF 16 drops much, and smooth
def test_h264_keeps_the_luma_as_well_as_ffmpeg(picture, make_film, colorize_film, ffmpeg, planes_of, tmp_path):
    source = make_film('f.mkv', '-vf', picture, '-c:v', 'ffv1', '-pix_fmt', 'yuv420p', size='256x192')
    exact, out, judge = tmp_path / 'exact.mkv', tmp_path / 'out.mp4', tmp_path / 'judge.mp4'
    colorize_film(source, exact)
    colorize_film(source, out, lossless=False)
    ffmpeg('-i', exact, '-c:v', 'libx264', '-crf', 16, '-preset', 'medium', '-pix_fmt', 'yuv420p', judge)
    before, after, theirs = (np.stack([planes[0] for planes in planes_of(path)]) for path in (source, out, judge))
    error, expected = (np.abs(before.astype(int) - each).mean() for each in (after, theirs))
    assert error == pytest.approx(expected, rel=0.01)  # versions of x264 may differ
    assert out.stat().st_size == pytest.approx(judge.stat().st_size, rel=0.02)
    settings = out.read_bytes()  # x264 writes them into the film
    assert b' crf=16.0 ' in settings and b' subme=7 ' in settings and b' sliced_threads=0 ' in settings


@pytest.mark.parametrize('lossless', [True, False])
@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_rotation_is_copied(degrees, lossless, make_film, colorize_film, tmp_path):
    plain = make_film('plain.mp4', *X264)
    source, out = tmp_path / 'turned.mp4', tmp_path / ('out.mkv' if lossless else 'out.mp4')
    with av.open(str(plain)) as container, av.open(str(source), 'w') as turned:
        stream = turned.add_stream_from_template(container.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                turned.mux(packet)
    colorize_film(source, out, lossless)
    rotations = [next(av.open(str(path)).decode(video=0)).rotation for path in (source, out)]
    assert rotations[0] % 360 == degrees
    assert rotations[1] == rotations[0]
    assert open_film(source).quarter_turns == degrees // 90


def read_packets(path, kind):
    """The bytes and times, in seconds, of the packets of all streams of a kind, each stream for itself."""
    with av.open(str(path)) as container:
        streams = [each for each in container.streams if each.type == kind]
        found = {each.index: [] for each in streams}
        for packet in container.demux(streams) if streams else ():
            if packet.size:
                found[packet.stream_index].append((bytes(packet), float(packet.pts * packet.time_base)))
        return list(found.values())


@pytest.mark.parametrize('audio', [0, 1, 2])
@pytest.mark.parametrize('out', ['out.mkv', 'out.mp4'])
def test_sound_is_copied_byte_for_byte(audio, out, make_film, colorize_film, show, tmp_path):
    titles = [item for n in range(audio) for item in (f'-metadata:s:a:{n}', f'language={("eng", "fra")[n]}')]
    source = make_film('f.mp4', *X264, '-c:a', 'aac', *titles, '-metadata', 'title=Attic', audio=audio, frames=20)
    colorize_film(source, tmp_path / out, lossless=out.endswith('mkv'))
    before, after = (read_packets(path, 'audio') for path in (source, tmp_path / out))
    assert len(after) == audio
    for one, other in zip(before, after, strict=True):
        assert [data for data, _ in one] == [data for data, _ in other]
        apart = np.array([a - b for (_, a), (_, b) in zip(one, other, strict=True)])
        assert np.ptp(apart) < 0.0011
    # sound and picture begin as far from each other as before
    if audio:
        starts = [show(path).times[0] - read_packets(path, 'audio')[0][0][1] for path in (source, tmp_path / out)]
        assert starts[0] == pytest.approx(starts[1], abs=0.0011)
    with av.open(str(tmp_path / out)) as container:
        assert container.metadata['title'] == 'Attic'
        assert [each.metadata['language'] for each in container.streams.audio] == ['eng', 'fra'][:audio]


def test_pixel_shape_is_copied(make_film, colorize_film, show, tmp_path):
    source = make_film('f.mp4', '-vf', 'setsar=16/11', *X264)
    for out, lossless in (('out.mkv', True), ('out.mp4', False)):
        colorize_film(source, tmp_path / out, lossless)
        assert 'sar:16/11' in show(tmp_path / out).report


def test_clock_of_a_broadcast_begins_anew(make_film, colorize_film, show, tmp_path):
    source = make_film('f.ts', *X264, '-c:a', 'mp2', audio=1, frames=20)
    assert show(source).times[0] > 1  # the muxer's delay
    colorize_film(source, tmp_path / 'out.mkv')
    before, after = show(source), show(tmp_path / 'out.mkv')
    assert after.lumas == before.lumas
    assert after.times[0] < 0.2
    np.testing.assert_allclose(np.diff(after.times), np.diff(before.times), atol=0.0011)
