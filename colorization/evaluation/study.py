"""A user study as a static page: which of several colorizations people prefer, and the box plot of their answers."""

import hashlib
import html
import json
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from colorization.evaluation.pairs import pair_folders
from colorization.evaluation.protocols import PROTOCOLS
from colorization.sheet import draw_sheet, save_sheet
from dualattn.io.files import write_json, write_whole
from dualattn.io.photos import ImageError, read_rgb

__all__ = ['StudyError', 'draw_preferences', 'make_comparison', 'make_study', 'read_preferences']

KIND, ANSWERS = 'dualattn.study', 'dualattn.study.answers'


class StudyError(ValueError):
    """Folders that make no study, or answers that belong to none; the message says what to do."""


def _common(folders: Sequence[Path]) -> tuple[list[list[Path]], list[str]]:
    """Return the files of each picture that all folders hold in one size, in the folders' order; and who is left out.

    Raises:
        StudyError: fewer than two folders, two of one name, or no picture in common.
    """
    names = [folder.resolve().name for folder in folders]
    if len(folders) < 2 or len(set(names)) < len(names):
        raise StudyError(
            f'a comparison takes at least two folders with different names, got {", ".join(names) or "none"}'
        )
    first, *others = folders
    partners = [dict(pair_folders(other, first, PROTOCOLS['folder']).pairs) for other in others]
    everyone = dict.fromkeys(path for pairs in partners for path in pairs)
    pictures, left_out = [], []
    for path in everyone:
        if not all(path in pairs for pairs in partners):
            left_out.append(f'{path}: not in every folder')
            continue
        files = [first / path, *(other / pairs[path] for other, pairs in zip(others, partners, strict=True))]
        try:
            shapes = {read_rgb(file).shape for file in files}
        except ImageError as error:
            left_out.append(str(error))
            continue
        if len(shapes) > 1:
            left_out.append(f'{path}: of different sizes')
        else:
            pictures.append(files)
    if not pictures:
        raise StudyError(f'no picture is in all folders in one size; {left_out[0]}')
    return pictures, left_out


def make_study(
    folders: Sequence[Path], out: Path, count: int = 50, pairs: bool = False, seed: int = 0, title: str = ''
) -> list[str]:
    """Write `out/page/`, to be put on any web server or sent as a folder, and `out/key.json`, to be kept.

    File names and metadata in the page tell nothing of the methods; the key does. The page shuffles questions and
    pictures anew for each participant, keeps unfinished answers in the browser and its tab, and hands them out as a
    JSON file.

    Args:
        folders: one for each method; its name is the method's.
        out: a new folder.
        count: pictures that are asked about, drawn at random.
        pairs: ask about two methods at a time, each pair of each picture, instead of all at once.
        seed: of the draw, and of the files' names.
        title: question above the pictures.

    Returns:
        Why pictures were left out, a line each.

    Raises:
        StudyError: see `_common`; `out` exists; or `count` is below one.
    """
    if count < 1:
        raise StudyError(f'a study needs at least one picture, got count={count}')
    if out.exists():
        raise StudyError(f'{out} exists; name a new folder')
    pictures, left_out = _common(folders)
    draw = random.Random(seed)
    draw.shuffle(pictures)
    methods = [folder.resolve().name for folder in folders]
    (out / 'page').mkdir(parents=True)
    key: dict[str, str] = {}
    trials = []
    for number, files in enumerate(pictures[:count]):
        names = []
        for method, file in zip(methods, files, strict=True):
            name = f'{hashlib.sha256(f"{draw.random()}{number}{method}".encode()).hexdigest()[:16]}.png'
            with write_whole(out / 'page' / name) as aside:
                Image.fromarray(read_rgb(file)).save(aside)
            key[name] = method
            names.append(name)
        groups = list(combinations(names, 2)) if pairs else [tuple(names)]
        trials += [sorted(group) for group in groups]  # sorted by names that mean nothing
    study = hashlib.sha256(json.dumps(trials).encode()).hexdigest()[:16]
    page = _PAGE.replace('@TITLE@', html.escape(title or 'Which picture looks best?'))
    page = page.replace('@STUDY@', json.dumps(dict(kind=ANSWERS, study=study, trials=trials)).replace('</', '<\\/'))
    with write_whole(out / 'page' / 'index.html') as aside:
        aside.write_text(page, encoding='utf-8')
    write_json(out / 'key.json', dict(kind=KIND, study=study, methods=methods, trials=trials, key=key))
    return left_out


def read_preferences(key_file: Path, answer_files: Sequence[Path]) -> tuple[dict[str, list[float]], list[str]]:
    """Read how often each participant preferred each method, in per cent of the times it was shown.

    Args:
        key_file: `key.json` of the study.
        answer_files: what participants sent. A file that is broken, of another study, of a participant who is there
            already, or with an answer that was no choice, is left out and named.

    Returns:
        Method -> a number for each participant; and why files were left out.

    Raises:
        StudyError: the key is broken, or no file is left.
    """

    def read(path: Path, kind: str) -> dict:
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
        except (ValueError, RecursionError) as error:
            raise StudyError(f'{path} is no JSON file ({error})') from error
        if not isinstance(content, dict) or content.get('kind') != kind:
            raise StudyError(f'{path} is no file of the kind {kind}')
        return content

    key = read(key_file, KIND)
    missing = [name for name in ('study', 'methods', 'trials', 'key') if name not in key]
    if missing:
        raise StudyError(f'{key_file} is no whole key: it has no {" and no ".join(missing)}')
    trials = {str(number): trial for number, trial in enumerate(key['trials'])}
    preferences: dict[str, list[float]] = {method: [] for method in key['methods']}
    seen, left_out = set(), []
    for path in answer_files:
        try:
            answers = read(path, ANSWERS)
            if answers.get('study') != key['study']:
                raise StudyError(f'{path} belongs to another study')
            participant = str(answers.get('participant'))
            if participant in seen:
                raise StudyError(f'{path}: participant {participant} has answered already')
            chosen, shown = dict.fromkeys(key['methods'], 0), dict.fromkeys(key['methods'], 0)
            answered = answers.get('answers')
            if not isinstance(answered, dict) or not answered:
                raise StudyError(f'{path} has no answers')
            for trial, choice in answered.items():
                options = trials.get(trial, [])
                if choice not in options:
                    raise StudyError(f'{path}: question {trial} has no picture {choice!r}')
                for name in options:
                    shown[key['key'][name]] += 1
                chosen[key['key'][choice]] += 1
        except StudyError as error:
            left_out.append(str(error))
            continue
        seen.add(participant)
        for method in key['methods']:
            if shown[method]:
                preferences[method].append(100 * chosen[method] / shown[method])
    if not seen:
        raise StudyError(f'no answers can be used: {"; ".join(left_out[:3]) or "no file was named"}')
    return preferences, left_out


def draw_preferences(preferences: dict[str, list[float]], path: Path) -> None:
    """Draw the box plot of DDColor Fig. 4 and MPT Fig. 7: median solid gray, mean dashed green."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 1.3 * len(preferences), 4), layout='constrained')
    axis = figure.subplots()
    axis.boxplot(
        list(preferences.values()),
        showmeans=True,
        meanline=True,
        medianprops=dict(color='gray'),
        meanprops=dict(color='green', linestyle='--'),
    )
    axis.set_xticks(range(1, len(preferences) + 1), list(preferences))
    participants = max(map(len, preferences.values()))
    axis.set(ylabel='preference in %', ylim=(-2, 102), title=f'{participants} participants')
    figure.savefig(path, dpi=150)


def make_comparison(
    folders: Sequence[Path], out: Path, names: Sequence[str] = (), count: int = 8, tile: int = 192
) -> list[str]:
    """Draw a sheet as MPT Fig. 4 to 6: a row for each picture, a column for each folder.

    Args:
        folders: one for each column, in order.
        out: PNG file.
        names: pictures by name without suffix; none takes the first `count`.
        count: rows where no names are given.
        tile: side in pixels of the square that a picture fits.

    Returns:
        Why pictures were left out, a line each.

    Raises:
        StudyError: see `_common`; or a name is in none of the folders.
    """
    pictures, left_out = _common(folders)
    if names:
        by_name = {files[0].stem: files for files in pictures}
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise StudyError(f'no picture {unknown[0]!r} in all folders; there are {", ".join(list(by_name)[:5])}, ...')
        chosen = [by_name[name] for name in names]
    else:
        chosen = pictures[:count]
    rows = [[Image.fromarray(np.ascontiguousarray(read_rgb(file))) for file in files] for files in chosen]
    sheet = draw_sheet(rows, [folder.resolve().name for folder in folders], [files[0].stem for files in chosen], tile)
    save_sheet(sheet, out)
    return left_out


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@TITLE@</title>
<style>
  body { font: 16px/1.4 system-ui, sans-serif; margin: 1rem; background: #777; color: #fff; text-align: center }
  #pictures { display: flex; flex-wrap: wrap; gap: .5rem; justify-content: center }
  button { border: 3px solid transparent; background: none; padding: 0; cursor: pointer; color: inherit; font: inherit }
  button:hover, button:focus-visible { border-color: #fff }
  #pictures img { display: block; max-width: min(46vw, 420px); max-height: 70vh }
  #save { border: 2px solid #fff; padding: .5rem 1rem }
</style>
<h1>@TITLE@</h1>
<p id="progress" aria-live="polite"></p>
<div id="pictures"></div>
<p><button id="save" hidden>Save my answers</button></p>
<noscript>This page needs JavaScript; it loads nothing from elsewhere.</noscript>
<script>
const study = @STUDY@;
const place = 'study-' + study.study;
function shuffled(items) {
  items = [...items];
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}
function load() {
  let stored = null;
  try { stored = JSON.parse(localStorage.getItem(place)); } catch { /* refused, or another page's */ }
  // a busy Chromium may find the localStorage of a file: page empty after a reload; the tab's history holds it still
  const own = history.state && history.state[place];
  const count = kept => kept ? Object.keys(kept.answers).length : -1;
  return count(own) > count(stored) ? own : stored;
}
function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const participant = [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
  return {participant, order: shuffled(study.trials.keys()), answers: {}};
}
const state = load() || fresh();
function keep() {
  try { localStorage.setItem(place, JSON.stringify(state)); } catch { /* private windows keep nothing */ }
  try { history.replaceState({[place]: state}, ''); } catch { /* Safari refuses more than 100 in 30 seconds */ }
}
function show() {
  const left = state.order.filter(trial => !(trial in state.answers));
  const done = state.order.length - left.length;
  document.getElementById('progress').textContent = done + ' of ' + state.order.length;
  const pictures = document.getElementById('pictures');
  pictures.replaceChildren();
  if (!left.length) {
    document.getElementById('progress').textContent = 'Thank you. Save your answers and send the file.';
    document.getElementById('save').hidden = false;
    return;
  }
  const trial = left[0];
  shuffled(study.trials[trial]).forEach((name, index) => {
    const button = document.createElement('button');
    const image = document.createElement('img');
    image.src = name;
    image.alt = 'picture ' + (index + 1);
    button.append(image);
    button.onclick = event => {
      if (event.detail > 1) return;  // the second half of a double click would answer the next question
      state.answers[trial] = name;
      keep();
      show();
    };
    pictures.append(button);
  });
}
document.getElementById('save').onclick = () => {
  const content = {kind: study.kind, study: study.study, participant: state.participant, answers: state.answers};
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], {type: 'application/json'}));
  link.download = 'answers_' + state.participant + '.json';
  link.click();
};
keep();
show();
</script>
</html>
"""
