"""A model card in Hugging Face's form, whose figures come from the records of measurements alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dualattn.io.records import read_record

__all__ = ['write_model_card']

_HEAD = """# {name}

A network that colorizes black-and-white photographs, for [dualattn](https://pypi.org/project/dualattn).

```python
from colorization import Colorizer

colorizer = Colorizer.from_pretrained('{repository}')
rgb = colorizer(gray)  # (H, W) or (H, W, 3) uint8 -> (H, W, 3) uint8
```

or `dualattn colorize PHOTO.jpg --weights {repository}`.

- **Network**: {type}, {parameters:.1f} million parameters; it sees about {size} x {size} pixels.
- **Limits**: the colours are guesses and say nothing about what a scene looked like.
"""


def write_model_card(
    network: nn.Module,
    repository: str,
    records: Sequence[str | os.PathLike] = (),
    card_license: str | None = None,
    notes: str = '',
) -> str:
    """Return the text of a card.

    Args:
        network: with an attribute `config`.
        repository: 'organization/name' or a folder, as `Colorizer.from_pretrained` takes it.
        records: JSON of `dualattn evaluate` or `dualattn test`; without any the card says that nothing was measured.
        card_license: of the weights, in Hugging Face's spelling such as 'apache-2.0'; None says nothing.
        notes: Markdown that is added, such as the data that the training saw.

    Raises:
        FileNotFoundError: there is no such record.
        RecordError: a file is no record.
    """
    from huggingface_hub import EvalResult, ModelCardData

    measured = [read_record(Path(path)) for path in records]
    name = repository.rstrip('/').rpartition('/')[2]
    config: Any = network.config
    results = [
        EvalResult(
            task_type='image-to-image',
            task_name='Colorization',
            dataset_type=str(record['protocol'].get('name', 'folder')),
            dataset_name=str(record['protocol'].get('name', 'folder')),
            metric_type=metric,
            metric_value=figure['value'],
        )
        for record in measured
        for metric, figure in record['figures'].items()
    ]
    data = ModelCardData(
        license=card_license,
        library_name='dualattn',
        pipeline_tag='image-to-image',
        tags=['colorization', 'image-restoration'],
        model_name=name if results else None,
        eval_results=results or None,
    )
    head = _HEAD.format(
        name=name,
        repository=repository,
        type=config['type'],
        parameters=sum(parameter.numel() for parameter in network.parameters()) / 1e6,
        size=getattr(network, 'inference_size', 256),
    )
    parts = [f'---\n{data.to_yaml()}\n---\n', head, *([notes.strip() + '\n'] if notes.strip() else []), '## Measured\n']
    parts += [_show_record(record) for record in measured] or ['Nothing was measured of these weights.\n']
    return '\n'.join(parts)


def _show_record(record: dict[str, Any]) -> str:
    pictures = record['pictures']
    incomplete = '' if pictures.get('complete') else ', **incomplete**'
    lines = [
        f'{record["name"]}, protocol `{record["protocol"].get("name", "folder")}`, {pictures.get("measured")} pictures'
        f'{incomplete}, {record.get("date", "undated")}:',
        '',
        '| figure | value | 95 % interval | unit | better |',
        '|---|---:|---:|---|---|',
    ]
    for name, figure in record['figures'].items():
        low, high = figure.get('low'), figure.get('high')
        interval = f'{low:.4g} to {high:.4g}' if low is not None and high is not None else ''
        cells = (name, f'{figure["value"]:.4g}', interval, figure.get('unit') or '', figure.get('better') or '')
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'
