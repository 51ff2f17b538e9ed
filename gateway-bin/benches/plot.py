#!/usr/bin/env python3
"""Draws the results of compare.py: CPU per request, relative to nginx, as an SVG for light and dark backgrounds.

    gateway-bin/benches/plot.py target/compare.json docs/performance.svg
"""

import json
import pathlib
import statistics
import sys

WIDTH, LEFT, RIGHT, TOP = 820, 250, 120, 64  # width of the picture, and its margins
BAR, GAP, GROUP = 15, 3, 18  # height of a bar, space below it, space below a group
COLOURS = {"towergate": ("#0b63c5", "#5aa9ff"), "nginx": ("#5f7a3a", "#a3c46f"), "haproxy": ("#9a5b13", "#e0a458")}
OTHER = ("#6b6b6b", "#a0a0a0")


def text(x, y, words, kind="", anchor="start"):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def style(peers):
    light, dark = [], []
    for number, peer in enumerate(peers):
        pair = COLOURS.get(peer, OTHER)
        light.append(f".p{number} {{ fill: {pair[0]}; }}")
        dark.append(f".p{number} {{ fill: {pair[1]}; }}")
    return f"""<style>
text {{ font: 13px system-ui, sans-serif; fill: #1f2328; }}
.small {{ font-size: 11px; fill: #59636e; }} .value {{ paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }} .title {{ font-size: 15px; font-weight: 600; }}
.back {{ fill: #ffffff; }} .grid {{ stroke: #d1d9e0; }} .one {{ stroke: #59636e; stroke-dasharray: 4 3; }}
.range {{ stroke: #1f2328; stroke-width: 1.2; }}
{' '.join(light)}
@media (prefers-color-scheme: dark) {{
text {{ fill: #f0f6fc; }} .small {{ fill: #9198a1; }} .value {{ stroke: #0d1117; }}
.back {{ fill: #0d1117; }} .grid {{ stroke: #3d444d; }} .one {{ stroke: #9198a1; }} .range {{ stroke: #f0f6fc; }}
{' '.join(dark)}
}}
</style>"""


def groups(result):
    """For each load: the title, and median, minimum and maximum CPU per request of each gateway."""
    found = []
    for name, scenario in result["scenarios"].items():
        if name in ("idle", "latency"):
            continue
        bars = {peer: (statistics.median(row["cpu_us"]), min(row["cpu_us"]), max(row["cpu_us"]))
                for peer, row in scenario["peers"].items()}
        if len(bars) == len(result["versions"]):
            found.append((scenario["title"], bars))
    return found


def draw(result):
    peers, found = list(result["versions"]), groups(result)
    base = "nginx" if "nginx" in peers else peers[0]
    most = max(high / bars[base][0] for _, bars in found for _, _, high in bars.values())
    axis = max(1.5, -(-most // 0.5) * 0.5)
    room = WIDTH - LEFT - RIGHT
    bottom = TOP + len(found) * (len(peers) * (BAR + GAP) + GROUP)
    height = bottom + 40

    def at(ratio):
        return LEFT + room * ratio / axis

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             f'role="img" aria-label="CPU per request of {", ".join(peers)}">', style(peers),
             f'<rect class="back" width="{WIDTH}" height="{height}"/>',
             text(16, 26, "CPU per request: shorter is better", "title")]
    x = 16
    for number, peer in enumerate(peers):
        parts.append(f'<rect class="p{number}" x="{x}" y="38" width="12" height="12"/>')
        parts.append(text(x + 18, 49, result["versions"][peer].replace("/", " ")))
        x += 34 + 8 * len(result["versions"][peer])
    for step in range(int(axis / 0.5) + 1):
        ratio = step * 0.5
        kind = "one" if ratio == 1 else "grid"
        parts.append(f'<line class="{kind}" x1="{at(ratio):.1f}" x2="{at(ratio):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(text(at(ratio), bottom + 16, f"{ratio:.1f}", "small", "middle"))
    parts.append(text(at(axis / 2), bottom + 33, f"relative to {base}; line: lowest to highest round; number: microseconds",
                      "small", "middle"))
    y = TOP + GROUP / 2
    for title, bars in found:
        parts.append(text(LEFT - 10, y + len(peers) * (BAR + GAP) / 2 + 3, title, "", "end"))
        for number, peer in enumerate(peers):
            middle, low, high = (at(value / bars[base][0]) for value in bars[peer])
            half = y + BAR / 2
            parts.append(f'<rect class="p{number}" x="{LEFT}" y="{y:.1f}" width="{middle - LEFT:.1f}" height="{BAR}"/>')
            parts.append(f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{half:.1f}" y2="{half:.1f}"/>')
            parts.append(text(high + 6, y + BAR - 3, f"{bars[peer][0]:.1f}", "small value"))
            y += BAR + GAP
        y += GROUP
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    result = json.loads(pathlib.Path(sys.argv[1]).read_text())
    pathlib.Path(sys.argv[2]).write_text(draw(result))


if __name__ == "__main__":
    main()
