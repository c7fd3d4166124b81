"""A node agent over an API in memory, as a program of its own, for the kernel tests: it is killed, so it must be one.

Reads lines from stdin: {"put": OBJECT} or {"delete": [NAMESPACE, NAME]}; prints every write of the agent as a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from fairway.client.base import Object
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.objects.kinds import CONFIG_MAP, NODE, POD, SECRET, SERVICE, Kind
from fairway.pods.agent import Agent, AgentConfig
from tests.unit.pods.fake_api import FakeApi

KINDS = {kind.name: kind for kind in (POD, SERVICE, CONFIG_MAP, SECRET)}


def say(event: str, obj: Object) -> None:
    print(json.dumps({"event": event, "object": obj}), flush=True)


def give_range(kind: Kind, obj: Object) -> None:
    if kind is NODE:
        obj["spec"] |= {"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"]}


async def obey(api: FakeApi) -> None:
    reader = asyncio.StreamReader(limit=2**22)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        if "put" in order:
            api.put(KINDS[order["put"]["kind"]], order["put"])
        else:
            namespace, name = order["delete"]
            api.put(POD, api.find(POD, name, namespace), "DELETED")


async def main(settings: dict[str, Any]) -> None:
    api = FakeApi(say, give_range)
    for pod in settings["pods"]:
        api.put(POD, pod)
    config = AgentConfig(
        node_name="node-x",
        state_dir=Path(settings["state_dir"]),
        node_ip="10.0.0.11",
        cluster_dns="10.96.0.10",
        **settings.get("config", {}),
    )
    stop = asyncio.Event()
    agent = asyncio.create_task(Agent(api, LinuxLinks(), LinuxNetfilter(), config).run(stop))
    orders = asyncio.create_task(obey(api))
    await asyncio.wait({agent, orders}, return_when=asyncio.FIRST_COMPLETED)
    if agent.done():
        agent.result()
    stop.set()
    await agent


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    netns.join(netns.path(wanted["netns"]))
    asyncio.run(main(wanted))
