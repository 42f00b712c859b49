"""Films that cannot be coloured are refused by name, before anything is written."""

import pytest

av = pytest.importorskip('av')

from colorization.video.formats import FilmError  # noqa: E402
from colorization.video.lengths import measure_missing  # noqa: E402
from colorization.video.reading import open_film, read_frames  # noqa: E402

X264 = ('-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p')


def count(path, **options):
    return sum(1 for _ in read_frames(open_film(path, **options)))


def test_no_video(make_film, ffmpeg, tmp_path):
    path = tmp_path / 'sound.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'sine', '-t', '0.2', path)
    with pytest.raises(FilmError, match=r'sound\.mp4: has no video \(it holds audio\)'):
        open_film(path)


def test_no_frames(tmp_path):
    path = tmp_path / 'f.avi'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
        container.start_encoding()
    with pytest.raises(FilmError, match='its video has no frames'):
        open_film(path)


@pytest.mark.parametrize('content', [b'', b'no film at all' * 100, bytes(range(256)) * 40])
def test_no_film(content, tmp_path):
    path = tmp_path / 'x.mp4'
    path.write_bytes(content)
    with pytest.raises(FilmError, match=r'x\.mp4: '):
        open_film(path)
    with pytest.raises(FileNotFoundError, match='no such file'):
        open_film(tmp_path / 'none.mp4')


def test_broken_index(make_film):
    path = make_film('f.mp4', *X264)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'moov') + 4])  # as a camera leaves it when its battery dies
    with pytest.raises(FilmError, match=r'f\.mp4: is no film, or its index is broken.*lists nothing'):
        open_film(path)


@pytest.mark.parametrize(('name', 'codec', 'tag'), [('f.mp4', 'libx264', b'avc1'), ('f.avi', 'mpeg4', b'FMP4')])
def test_unknown_codec(name, codec, tag, make_film):
    path = make_film(name, '-c:v', codec, '-pix_fmt', 'yuv420p', audio=1)
    path.write_bytes(path.read_bytes().replace(tag, b'QZ42'))
    with pytest.raises(FilmError, match=r"codec of its video is unknown \('QZ42'\); PyAV .* decodes .*h264.*vp9"):
        open_film(path)


KINDS = {
    'f.mkv': X264,
    'open.mkv': (*X264, '-live', '1'),
    'f.webm': ('-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-pix_fmt', 'yuv420p'),
    'f.avi': ('-c:v', 'mpeg4'),
    'f.mov': (*X264, '-movflags', 'faststart'),
    'fragments.mp4': (*X264, '-g', '5', '-movflags', 'frag_keyframe+empty_moov'),
    'f.ts': X264,
}
SAYS_NOTHING = ('open.mkv', 'f.ts')


@pytest.mark.parametrize('name', KINDS)
def test_cut_off(name, make_film):
    path = make_film(name, *KINDS[name], frames=30, audio=name != 'f.webm')
    assert measure_missing(path) == 0
    assert count(path) == 30
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    if name in SAYS_NOTHING:
        assert measure_missing(path) == 0
    else:
        with pytest.raises(FilmError, match='bytes are missing at its end.*--allow-truncated'):
            open_film(path)
        assert 0 < measure_missing(path) <= len(data) - len(data) * 2 // 3
        assert 0 < count(path, allow_truncated=True) < 30


def test_an_index_that_lists_more_than_there_is(make_film):
    path = make_film('f.mp4', *X264, '-movflags', 'faststart', frames=30)
    data = path.read_bytes()
    at = data.index(b'mdat') - 4
    kept = data[: at + 8 + (len(data) - at) // 2]
    path.write_bytes(kept[:at] + (len(kept) - at).to_bytes(4, 'big') + kept[at + 4 :])
    assert measure_missing(path) == 0
    with pytest.raises(FilmError, match=r'frames of 30 that its index lists.*--allow-truncated'):
        count(path)
    assert 0 < count(path, allow_truncated=True) < 30


@pytest.mark.parametrize(
    'content',
    [b'', b'\x1a', b'\x1a\x45\xdf\xa3', b'\x1a\x45\xdf\xa3\0', b'RIFF', b'RIFF\xff\xff\xff\xffAVI ', b'\0\0\0\1ftyp'],
)
def test_heads_that_say_nothing(content, tmp_path):
    (tmp_path / 'x').write_bytes(content)
    assert measure_missing(tmp_path / 'x') == 0


def test_damaged_in_the_middle(make_film):
    path = make_film('f.mkv', '-c:v', 'ffv1', '-level', '3', '-slicecrc', '1', '-g', '1', frames=10)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + 400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(FilmError, match='damaged.*--allow-truncated'):
        count(path)
    assert 0 < count(path, allow_truncated=True) <= 10


def test_size_changes(make_film, tmp_path):
    parts = [make_film(f'{size}.h264', *X264, size=size, frames=4) for size in ('48x32', '64x48')]
    path = tmp_path / 'f.h264'
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    with pytest.raises(FilmError, match=r'change from 48 x 32 to 64 x 48 pixels at 0:00:00'):
        count(path)


def test_interlaced(make_film, tmp_path):
    path = make_film('f.mpg', '-vf', 'interlace', '-flags', '+ildct+ilme', '-c:v', 'mpeg2video', '-pix_fmt', 'yuv420p')
    with pytest.raises(FilmError, match='interlaced.*bwdif'):
        count(path)


@pytest.mark.parametrize(('curve', 'name'), [('smpte2084', 'PQ'), ('arib-std-b67', 'HLG')])
def test_hdr(curve, name, make_film):
    path = make_film('f.mp4', *X264[:-1], 'yuv420p10le', '-color_trc', curve, '-color_primaries', 'bt2020',
                     '-colorspace', 'bt2020nc')  # fmt: skip
    with pytest.raises(FilmError, match=rf'f\.mp4: this film is HDR, {name}.*SDR'):
        open_film(path)


def test_matrix_without_a_luma(make_film):
    path = make_film('f.mkv', '-c:v', 'ffv1', '-pix_fmt', 'yuv444p', '-colorspace', 'ycgco')
    with pytest.raises(FilmError, match='YCgCo'):
        open_film(path)


def test_more_bits_than_h264_has(make_film, colorize_film, tmp_path):
    path = make_film('f.mkv', '-c:v', 'ffv1', '-pix_fmt', 'yuv420p12le')
    with pytest.raises(FilmError, match='12 bits.*--lossless'):
        colorize_film(path, tmp_path / 'out.mp4', lossless=False)
    assert [each.name for each in tmp_path.iterdir()] == ['f.mkv']


def test_outputs_that_cannot_be(make_film, colorize_film, tmp_path):
    path = make_film('f.mkv', '-c:v', 'ffv1', '-pix_fmt', 'yuv420p', '-c:a', 'flac', audio=1)
    with pytest.raises(FilmError, match='--lossless is FFV1 in Matroska'):
        colorize_film(path, tmp_path / 'out.mp4')
    with pytest.raises(FilmError, match=r'expected a name that ends in \.mp4'):
        colorize_film(path, tmp_path / 'out.avi', lossless=False)
    with pytest.raises(FilmError, match='is the film itself'):
        colorize_film(path, path, overwrite=True)
    (tmp_path / 'there.mkv').write_bytes(b'precious')
    with pytest.raises(FileExistsError, match='--overwrite'):
        colorize_film(path, tmp_path / 'there.mkv')
    assert (tmp_path / 'there.mkv').read_bytes() == b'precious'


def test_subtitles_that_the_output_cannot_hold(make_film, colorize_film, ffmpeg, tmp_path):
    film, text = make_film('f.mp4', *X264), tmp_path / 't.srt'
    text.write_text('1\n00:00:00,000 --> 00:00:00,200\nHello\n')
    source = tmp_path / 'spoken.mkv'
    ffmpeg('-i', film, '-i', text, '-map', '0', '-map', '1', '-c', 'copy', '-c:s', 'srt', source)
    with pytest.raises(FilmError, match=r'its subtitle \(stream 1, .*\) cannot be copied to \.mp4.*--no-subtitles'):
        colorize_film(source, tmp_path / 'out.mp4', lossless=False)
    colorize_film(source, tmp_path / 'out.mp4', lossless=False, subtitles=False)
    colorize_film(source, tmp_path / 'out.mkv')
    ffmpeg('-i', tmp_path / 'out.mkv', '-map', '0:s', tmp_path / 'back.srt')
    assert 'Hello' in (tmp_path / 'back.srt').read_text()


def test_nothing_is_left_of_a_film_that_fails_on_the_way(make_film, colorize_film, tmp_path):
    path = make_film('f.mkv', '-c:v', 'ffv1', '-level', '3', '-slicecrc', '1', '-g', '1', frames=10)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + 400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(FilmError, match='damaged'):
        colorize_film(path, tmp_path / 'out.mkv')
    assert not (tmp_path / 'out.mkv').exists()
    assert not (tmp_path / 'out.mkv.parts').exists()
