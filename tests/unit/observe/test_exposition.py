"""Metrics as Prometheus reads them."""

from __future__ import annotations

from fairway.observe.exposition import Histogram, counter, gauge, text


def test_counters_and_gauges() -> None:
    requests = counter("requests_total", "How many.\nSo far.", "code", "path")
    requests.add(1, "200", 'a "b" \\')
    requests.add(2, "200", 'a "b" \\')
    waiting = gauge("waiting", "Now.")
    waiting.set(0.25)

    assert text([requests, waiting, counter("none_total", "Nothing yet.")]).splitlines() == [
        "# HELP requests_total How many.\\nSo far.",
        "# TYPE requests_total counter",
        'requests_total{code="200",path="a \\"b\\" \\\\"} 3',
        "# HELP waiting Now.",
        "# TYPE waiting gauge",
        "waiting 0.25",
        "# HELP none_total Nothing yet.",
        "# TYPE none_total counter",
        "none_total 0",
    ]


def test_histograms_add_up_from_bucket_to_bucket() -> None:
    seconds = Histogram("seconds", "How long.", (0.5, 1, 2), ("family",))
    for value in (0.1, 0.5, 1.5, 9):
        seconds.observe(value, "IPv4")

    assert text([seconds]).splitlines()[2:] == [
        'seconds_bucket{family="IPv4",le="0.5"} 2',
        'seconds_bucket{family="IPv4",le="1"} 2',
        'seconds_bucket{family="IPv4",le="2"} 3',
        'seconds_bucket{family="IPv4",le="+Inf"} 4',
        'seconds_sum{family="IPv4"} 11.1',
        'seconds_count{family="IPv4"} 4',
    ]
