"""Counting, and the text that Prometheus reads."""

from __future__ import annotations

import pytest

from fairway.dns.metrics import Family, Metrics

FAMILIES = (
    Family("asked_total", "counter", "Questions.", ("type",)),
    Family("size_octets", "histogram", "Sizes.", ("proto",), (1, 10.5)),
    Family("entries", "gauge", "Entries."),
)


def test_nothing_told_is_nothing_said_but_of_what_has_no_labels() -> None:
    assert Metrics(FAMILIES).text() == "# HELP entries Entries.\n# TYPE entries gauge\nentries 0\n"


def test_the_text_that_prometheus_reads() -> None:
    metrics = Metrics(FAMILIES)
    metrics.count("asked_total", "A")
    metrics.count("asked_total", "A", by=2)
    metrics.count("asked_total", 'odd"\\\n')
    metrics.observe("size_octets", 1, "udp")
    metrics.observe("size_octets", 2, "udp", times=3)
    metrics.observe("size_octets", 11.25, "udp")
    metrics.put("entries", 7)
    assert metrics.text() == (
        "# HELP asked_total Questions.\n"
        "# TYPE asked_total counter\n"
        'asked_total{type="A"} 3\n'
        'asked_total{type="odd\\"\\\\\\n"} 1\n'
        "# HELP size_octets Sizes.\n"
        "# TYPE size_octets histogram\n"
        'size_octets_bucket{proto="udp",le="1"} 1\n'
        'size_octets_bucket{proto="udp",le="10.5"} 4\n'
        'size_octets_bucket{proto="udp",le="+Inf"} 5\n'
        'size_octets_sum{proto="udp"} 18.25\n'
        'size_octets_count{proto="udp"} 5\n'
        "# HELP entries Entries.\n"
        "# TYPE entries gauge\n"
        "entries 7\n"
    )


def test_who_counts_by_himself_is_asked_before_numbers_are_read() -> None:
    metrics = Metrics(FAMILIES)
    metrics.gather_from(lambda: metrics.count("asked_total", "A"))
    assert metrics.value("asked_total", "A") == 1
    assert 'asked_total{type="A"} 2' in metrics.text()


def test_mistakes_of_the_caller_are_told() -> None:
    metrics = Metrics(FAMILIES)
    with pytest.raises(KeyError):
        metrics.count("unheard_of")
    with pytest.raises(ValueError, match="has the labels"):
        metrics.count("asked_total")
    with pytest.raises(ValueError, match="has the labels"):
        metrics.observe("size_octets", 1, "udp", "A")
