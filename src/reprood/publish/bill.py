"""Write a software bill of materials (CycloneDX 1.5) from the lock and the metadata of the installed packages."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

PINNED = re.compile(r"^([A-Za-z0-9_.\-\[\]]+)==([^\s;\\]+)\s*(?:;\s*([^\\]*?))?\s*\\?$")
DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def licence_of(package: str) -> str:
    """Return an installed package's licence: SPDX expression, classifier or short field; "" when it is unknown."""
    try:
        fields: Any = metadata(package)
    except PackageNotFoundError:
        return ""
    expression = fields.get("License-Expression")
    short = fields.get("License") or ""
    if expression:
        return str(expression)
    classified = [
        line.split(" :: ")[-1] for line in fields.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    return " AND ".join(classified) if classified else (short if 0 < len(short) <= 60 and "\n" not in short else "")


def locked(lock: str) -> list[dict[str, Any]]:
    """Return name, version, marker and SHA-256 digests of every package of a `requirements.lock`, in its order."""
    packages: list[dict[str, Any]] = []
    for line in lock.splitlines():
        pinned = PINNED.match(line)
        if pinned:
            name, version, marker = pinned.groups()
            packages.append({"name": name.split("[")[0], "version": version, "marker": marker or "", "sha256": []})
        elif packages:
            packages[-1]["sha256"] += DIGEST.findall(line)
    return packages


def bill_of(lock: Path, version: str) -> dict[str, Any]:
    """Return the bill of materials of a `requirements.lock`; `version` is that of this package."""
    components = []
    for package in locked(lock.read_text(encoding="utf-8")):
        name = package["name"]
        licence = licence_of(name)
        identifier = f"pkg:pypi/{name.lower().replace('_', '-')}@{package['version']}"
        components.append(
            {
                "type": "library",
                "bom-ref": identifier + (f"?{package['marker']}" if package["marker"] else ""),
                "name": name,
                "version": package["version"],
                "purl": identifier,
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(package["sha256"])[:1]],
                **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
            }
        )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "reprood", "version": version}},
        "components": components,
    }
