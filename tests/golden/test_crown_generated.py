"""The crown property on clusters that nobody wrote: oracle and tracer agree on both dialects."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.dataplane import iptables
from fairway.packet import Family
from tests.golden.generated import Cluster, clusters
from tests.golden.test_crown import disagreements, nft_rules, packets

SENT = 60


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters(), st.integers())
def test_iptables_do_what_the_oracle_says(cluster: Cluster, seed: int) -> None:
    for family in Family:
        sent = [*packets(cluster.node, cluster.desired, family)]
        some = random.Random(seed).sample(sent, min(SENT, len(sent)))
        rules = iptables.render(cluster.desired, family)
        assert disagreements(cluster.desired, cluster.node, rules, some) == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters(guarded=True), st.integers())
def test_nftables_do_what_the_oracle_says(cluster: Cluster, seed: int) -> None:
    for family in Family:
        sent = [*packets(cluster.node, cluster.desired, family)]
        some = random.Random(seed).sample(sent, min(SENT, len(sent)))
        assert disagreements(cluster.desired, cluster.node, nft_rules(cluster.desired, family), some) == []
