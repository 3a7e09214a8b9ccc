"""Samples as one text that readers of Prometheus' text format and of OpenMetrics both take.

The two agree on gauges and differ on counters: OpenMetrics wants ``# TYPE x counter`` above a sample
``x_total``, Prometheus the name of the sample in both places. So there are gauges alone, and a metric that
counts since boot has no name here. Other rules by which both are served:

* ``# UNIT`` and ``# EOF`` are comments to the older format and asked for by the newer one.
* Label values and help are escaped alike, but for the quote, which OpenMetrics alone escapes in help: no help
  has one.
* There are no timestamps: a node exporter refuses a whole file for one.
* Samples of a metric stand together, under its metadata.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from vmprobe.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmprobe.metrics import Metric, Sample

UNITS: Final = ("bytes", "seconds", "ratio")
"""Units that are told apart from the name, whose last word they are."""


def metrics_text(samples: Sequence[Sample]) -> str:
    """Return the samples of all metrics that have a name in a metrics file, ended by ``# EOF``."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    lines: list[str] = []
    for name, metric in METRICS.items():
        if metric.exposed is not None and name in by_name:
            lines += _metadata(metric.exposed, metric.about)
            lines += (
                f"{metric.exposed}{_labels(metric, s)} {_value(metric, s.value)}" for s in by_name[name]
            )
    return "\n".join([*lines, "# EOF", ""])


def _metadata(exposed: str, about: str) -> Iterable[str]:
    yield f"# HELP {exposed} {_escaped(about)}"
    yield f"# TYPE {exposed} gauge"
    unit = exposed.rpartition("_")[2]
    if unit in UNITS:
        yield f"# UNIT {exposed} {unit}"


def _labels(metric: Metric, sample: Sample) -> str:
    pairs = zip(metric.labels, sample.labels, strict=True)
    text = ",".join(f'{label}="{_quoted(value)}"' for label, value in pairs)
    return f"{{{text}}}" if text else ""


def _escaped(text: str) -> str:
    r"""Return `text` in one line.

    >>> print(_escaped("a\\b\nc"))
    a\\b\nc
    """
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    r"""Return what stands between the quotes of a label's value.

    >>> print(_quoted('say "no"'))
    say \"no\"
    """
    return _escaped(text).replace('"', r"\"")


def _value(metric: Metric, value: float) -> str:
    """Return a value in the base unit: integers with all digits, and no error of binary fractions.

    >>> _value(METRICS["free_bytes"], 2**60 + 1), 9 * 0.001, _value(METRICS["unusable_permille"], 9)
    ('1152921504606846977', 0.009000000000000001, '0.009')
    """
    if metric.scale == 1:
        return str(value)
    return repr(float(Decimal(str(value)) * Decimal(str(metric.scale))))
