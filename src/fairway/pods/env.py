"""The environment of a container (pure): envFrom, env, and $(NAME) in values and arguments, on top of the Service
variables (`links`)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairway.objects import quantity
from fairway.objects.errors import QuantityError
from fairway.pods.errors import ConfigProblem
from fairway.pods.view import Container, EnvVar, Pod, ResourceSelector

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Sources = Mapping[tuple[str, str], Mapping[str, str] | None]
"""("ConfigMap" or "Secret", name) -> its data as text, None when there is no such object."""

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs: what fieldRef can ask beyond the pod's own object. Quantities for resourceFieldRef are the
    node's allocatable ones where a container sets no limit."""

    node_name: str
    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]
    hostname: str
    allocatable: Mapping[str, str]


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by its value; unknown names stay as written, and `$$` is one dollar sign."""

    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        return "$" if name is None else values.get(name, found[0])

    return _REFERENCE.sub(replacement, text)


def references(container: Container) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets, as (kind, name), that `environment` needs to know."""
    wanted: set[tuple[str, str]] = set()
    for source in container.env_from:
        wanted |= {("ConfigMap", source.config_map_ref.name)} if source.config_map_ref else set()
        wanted |= {("Secret", source.secret_ref.name)} if source.secret_ref else set()
    for value in (variable.value_from for variable in container.env):
        if value is not None:
            wanted |= {("ConfigMap", value.config_map_key_ref.name)} if value.config_map_key_ref else set()
            wanted |= {("Secret", value.secret_key_ref.name)} if value.secret_key_ref else set()
    return wanted


def environment(
    container: Container, pod: Pod, place: Place, services: Mapping[str, str], sources: Sources
) -> tuple[dict[str, str], dict[str, str]]:
    """(what the process gets, what $(NAME) in its command may name). `services` are `links.variables`; the process
    further has PATH and HOSTNAME, as from an image and a runtime. Raises ConfigProblem."""
    named: dict[str, str] = {}
    for variable in container.env:
        value = _value(variable, container, pod, place, {**services, **named}, sources)
        if value is not None:
            named[variable.name] = value
    known = {**services, **_env_from(container, pod, sources), **named}
    return {"PATH": PATH, "HOSTNAME": place.hostname, **known}, known


def arguments(words: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """A container's command or args with $(NAME) replaced."""
    return [expand(word, known) for word in words]


def _env_from(container: Container, pod: Pod, sources: Sources) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.env_from:
        for kind, reference in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if reference is None:
                continue
            data = sources.get((kind, reference.name))
            if data is None and not reference.optional:
                raise ConfigProblem(f'{kind} "{pod.metadata.namespace}/{reference.name}" not found')
            names = {source.prefix + key: value for key, value in (data or {}).items()}
            found |= {name: value for name, value in names.items() if _VARIABLE.fullmatch(name)}
    return found


def _value(
    variable: EnvVar, container: Container, pod: Pod, place: Place, before: Mapping[str, str], sources: Sources
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, before)
    if source.field_ref is not None:
        return field(source.field_ref.field_path, pod, place)
    if source.resource_field_ref is not None:
        return resource(source.resource_field_ref, container, pod, place)
    for kind, key in (("ConfigMap", source.config_map_key_ref), ("Secret", source.secret_key_ref)):
        if key is None:
            continue
        data = sources.get((kind, key.name))
        if data is not None and key.key in data:
            return data[key.key]
        if not key.optional:
            missing = f'key "{key.key}" in {kind}' if data is not None else kind
            raise ConfigProblem(f'{missing} "{pod.metadata.namespace}/{key.name}" not found (env {variable.name})')
    return None


def field(path: str, pod: Pod, place: Place) -> str:
    """The value of a downward-API field. Raises ConfigProblem for fields that environment variables cannot have."""
    keyed = _MAP_FIELD.fullmatch(path)
    if keyed is not None:
        return (pod.metadata.labels if keyed[1] == "labels" else pod.metadata.annotations).get(keyed[2], "")
    plain = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": place.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": ",".join(place.host_ips[:1]),
        "status.hostIPs": ",".join(place.host_ips),
        "status.podIP": ",".join(place.pod_ips[:1]),
        "status.podIPs": ",".join(place.pod_ips),
    }
    if path not in plain:
        raise ConfigProblem(f"fieldRef {path!r} is not a field an environment variable can have")
    return plain[path]


def file_field(path: str, pod: Pod, place: Place) -> str:
    """The value of a downward-API field as a volume's file has it: all labels or annotations too. Raises
    ConfigProblem."""
    several = {"metadata.labels": pod.metadata.labels, "metadata.annotations": pod.metadata.annotations}.get(path)
    if several is None:
        return field(path, pod, place)
    return "\n".join(f"{name}={json.dumps(several[name], ensure_ascii=False)}" for name in sorted(several))


def _container_named(name: str, default: Container | None, pod: Pod) -> Container:
    if not name and default is not None:
        return default
    for container in pod.all_containers:
        if container.name == name:
            return container
    raise ConfigProblem(f"resourceFieldRef names container {name!r}, which this pod does not have")


def resource(wanted: ResourceSelector, own: Container | None, pod: Pod, place: Place) -> str:
    """The value of a resourceFieldRef; `own` is the container it stands in, None in a volume. Raises ConfigProblem."""
    container = _container_named(wanted.container_name, own, pod)
    which, _, name = wanted.resource.partition(".")
    amounts = {"limits": container.resources.limits, "requests": container.resources.requests}.get(which)
    if amounts is None or not name:
        raise ConfigProblem(f"resourceFieldRef {wanted.resource!r} must be limits.NAME or requests.NAME")
    fallback = place.allocatable.get(name, "0") if which == "limits" else "0"
    try:
        unit = quantity.parse(wanted.divisor) or quantity.parse("1")
        return str(math.ceil(quantity.parse(amounts.get(name, fallback)) / unit))
    except QuantityError as error:
        raise ConfigProblem(f"resourceFieldRef {wanted.resource}: {error}") from None
