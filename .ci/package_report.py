"""Fails if a publishable crate lacks metadata that a registry shows. Reads `cargo metadata` from stdin."""

import json
import pathlib
import sys

WANTED = ("description", "license", "repository", "readme", "rust_version", "keywords", "categories")
packages = [each for each in json.load(sys.stdin)["packages"] if each["publish"] != []]
faults = []
for package in packages:
    folder = pathlib.Path(package["manifest_path"]).parent
    faults += [f"{package['name']} has no {field}" for field in WANTED if not package[field]]
    if package["readme"] and not (folder / package["readme"]).is_file():
        faults.append(f"{package['name']}: the readme does not exist")
    if len(package["keywords"]) > 5 or any(len(word) > 20 for word in package["keywords"]):
        faults.append(f"{package['name']}: five keywords of twenty letters at most")
    # A dependency that has only a path cannot be resolved from a registry.
    faults += [
        f"{package['name']}: {sibling['name']} has a path, but no version"
        for sibling in package["dependencies"]
        if sibling.get("path") and sibling["req"] == "*" and sibling["kind"] != "dev"
    ]
print(*faults, sep="\n", end="\n" if faults else "")
print(f"{len(packages)} crates, {len(faults)} faults in their metadata")
sys.exit(bool(faults) or not packages)
