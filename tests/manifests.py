"""What Kubernetes' own client says of a manifest."""

import json
import re
from collections.abc import Iterator
from typing import Any

# Kubernetes' types of plain values; quantities such as that of nvidia.com/gpu are text or numbers, ports likewise.
PRIMITIVES: dict[str, tuple[type, ...]] = {"str": (str, int), "int": (int,), "bool": (bool,), "object": (str, int)}


def strange(value: Any, kind: str, path: str = "") -> Iterator[str]:
    """Paths of what the client has no field for, or has one of another type."""
    from kubernetes.client import models

    if (inner := re.fullmatch(r"[Ll]ist\[(.+)\]", kind)) and isinstance(value, list):
        for one in value:
            yield from strange(one, inner[1], path)
    elif (inner := re.fullmatch(r"[Dd]ict\[str, (.+)\]", kind)) and isinstance(value, dict):
        for one in value.values():
            yield from strange(one, inner[1], path)
    elif hasattr(models, kind) and isinstance(value, dict):
        model = getattr(models, kind)
        names = {there: here for here, there in model.attribute_map.items()}
        for name, one in value.items():
            inside = f"{path}.{name}".lstrip(".")
            if name in names:
                yield from strange(one, model.openapi_types[names[name]], inside)
            else:
                yield inside
    elif type(value) not in PRIMITIVES.get(kind, ()):
        yield path


def read(manifest: dict[str, Any], kind: str) -> Any:
    """The manifest as the client's own object. Raises ValueError where a field is missing that Kubernetes asks for."""
    from kubernetes.client import ApiClient

    return ApiClient().deserialize(json.dumps(manifest), kind, "application/json")
