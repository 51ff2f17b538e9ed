"""Fails if a crate that can be published lacks what a registry shows of it. Reads `cargo metadata`."""

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
        faults.append(f"{package['name']}: its readme is not there")
    if len(package["keywords"]) > 5 or any(len(word) > 20 for word in package["keywords"]):
        faults.append(f"{package['name']}: five keywords of twenty letters at most")
    # A sibling that is found by its path alone could not be found by others.
    faults += [
        f"{package['name']}: {sibling['name']} has a path, but no version"
        for sibling in package["dependencies"]
        if sibling.get("path") and sibling["req"] == "*" and sibling["kind"] != "dev"
    ]
print(*faults, sep="\n", end="\n" if faults else "")
print(f"{len(packages)} crates, {len(faults)} faults in what they say of themselves")
sys.exit(bool(faults) or not packages)
