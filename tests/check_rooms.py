#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every #include of another room is one that gateway/CMakeLists.txt lists in NEEDS, the rooms form
no circle, no file is over 700 lines, and every source begins with its licence."""

import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
GATEWAY = REPO / "gateway"
LINES_MAX = 700


def rows():
    """{room: set of rooms it says it needs}"""
    text = re.sub(r"#.*", "", (GATEWAY / "CMakeLists.txt").read_text())
    out = {}
    for body in re.findall(r"^gw_room\(([^)]*)\)", text, re.M):
        words = body.split()
        needs, into = set(), None
        for word in words[1:]:
            if word in ("NEEDS", "LIBS"):
                into = word
            elif into == "NEEDS":
                needs.add(word)
        out[words[0]] = needs
    return out


def included(path):
    return set(re.findall(r'^\s*#\s*include\s+"(\w+)/', path.read_text(), re.M))


def circle(room, needs, above=()):
    if room in above:
        return " → ".join([*above[above.index(room):], room])
    for other in sorted(needs.get(room, ())):
        found = circle(other, needs, (*above, room))
        if found:
            return found
    return None


def main():
    needs, faults, checked = rows(), [], 0
    for path in sorted(GATEWAY.rglob("*.[ch]")):
        room = path.parent.name
        if path.parent == GATEWAY:
            continue  # main.c wires them all
        checked += 1
        if room not in needs:
            faults.append(f"{path.relative_to(REPO)}: room {room} has no row in gateway/CMakeLists.txt")
            continue
        for other in sorted(included(path) & set(needs) - needs[room] - {room}):
            faults.append(f"{path.relative_to(REPO)}: includes {other}/, which gw_room({room}) does not list in NEEDS")
    for room in needs:
        found = circle(room, needs)
        if found:
            faults.append(f"gateway/CMakeLists.txt: a circle of rooms: {found}")
            break
    for path in sorted(p for d in ("gateway", "bpf", "tests") for p in (REPO / d).rglob("*.[ch]")):
        text = path.read_text()
        if not text.startswith("/* SPDX-License-Identifier: GPL-2.0-only */"):
            faults.append(f"{path.relative_to(REPO)}: does not begin with its licence")
        if text.count("\n") > LINES_MAX and "tests/unit" not in str(path):
            faults.append(f"{path.relative_to(REPO)}: {text.count(chr(10))} lines, {LINES_MAX} are the most")
    if not checked:
        faults.append("no source was found")
    for fault in faults:
        print(fault)
    print(f"rooms: {len(needs)} rooms, {checked} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
