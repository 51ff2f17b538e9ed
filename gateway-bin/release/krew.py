#!/usr/bin/env python3
"""Prints the manifest of the plugin `kubectl towergate` for krew.

    gateway-bin/release/krew.py VERSION DIR

DIR contains the archives of a release (`towergate-VERSION-TRIPLE.tar.gz`). Archives of platforms that krew does not
support are omitted.
"""

import hashlib
import json
import pathlib
import sys

# Parts of a target triple, and their names in krew.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SYSTEMS = {"linux": "linux", "darwin": "darwin"}
DOWNLOADS = "https://github.com/towergate/towergate/releases/download"


def platform(archive, version):
    """The entry of an archive in the manifest. None if krew does not support its platform."""
    name = archive.name.removesuffix(".tar.gz")
    triple = name.removeprefix(f"towergate-{version}-").split("-")
    architecture = ARCHITECTURES.get(triple[0])
    system = next((SYSTEMS[part] for part in triple if part in SYSTEMS), None)
    if architecture is None or system is None:
        return None
    files = [f"{name}/{file}" for file in ("kubectl-towergate", "towergate", "LICENSE")]
    return {
        "selector": {"matchLabels": {"os": system, "arch": architecture}},
        "uri": f"{DOWNLOADS}/v{version}/{archive.name}",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "files": [{"from": file, "to": "."} for file in files],
        "bin": "kubectl-towergate",
    }


def main():
    version, folder = sys.argv[1:]
    archives = sorted(pathlib.Path(folder).glob(f"towergate-{version}-*.tar.gz"))
    platforms = [entry for entry in (platform(archive, version) for archive in archives) if entry]
    manifest = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "towergate"},
        "spec": {
            "version": f"v{version}",
            "homepage": "https://github.com/towergate/towergate",
            "shortDescription": "Translate Ingresses of ingress-nginx to Gateway API",
            "description": (
                "Reads an installation of ingress-nginx from the cluster, without private keys, translates it to "
                "objects of Gateway API, and reports what became of each annotation and ConfigMap key."
            ),
            "platforms": platforms,
        },
    }
    # JSON is valid YAML.
    print(json.dumps(manifest, indent=2))


if __name__ == "__main__":
    main()
