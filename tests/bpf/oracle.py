# SPDX-License-Identifier: GPL-2.0-only
"""The kernel programs and the model beside each other, in the command language of oracle.c."""

import ipaddress
import os
import subprocess
import sys
import time
from pathlib import Path

import model

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CORDON_BUILD", ROOT / "build" / "sanitize"))
PROGRAMS = ("xdp", "in", "out")
BATCH = 100  # commands whose answers fit into a pipe


class Oracle:
    """bpf_oracle: what the kernel says."""

    def __init__(self):
        self.process = subprocess.Popen([BUILD / "tests" / "bpf_oracle"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, commands):
        """The answers, in order."""
        answers = []
        for at in range(0, len(commands), BATCH):
            batch = commands[at:at + BATCH]
            try:
                self.process.stdin.write("\n".join(batch) + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # the answers that are missing say which
            for command in batch:
                answer = self.process.stdout.readline()
                if not answer:
                    raise AssertionError(f"the oracle ended, status {self.process.wait()}, at: {command[:300]}")
                answers.append(answer.strip())
        return answers

    def say(self, commands):
        """As ask, where nothing but "ok" is expected."""
        for command, answer in zip(commands, self.ask(commands)):
            assert answer == "ok", f"{command}: {answer}"

    def counters(self, names):
        return {name: [int(n) for n in answer.split()] if answer != "none" else None
                for name, answer in zip(names, self.ask([f"counters {name}" for name in names]))}

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0, "the oracle did not end in order"


def key_of(text):
    """An address as the model names it: bytes, with the length in bits for a prefix."""
    if ":" in text and len(text) == 17 and text[2] == ":":
        return bytes.fromhex(text.replace(":", ""))
    network = ipaddress.ip_network(text)
    if network.prefixlen == network.max_prefixlen:
        return network.network_address.packed
    return network.network_address.packed, network.prefixlen


def name_of(key):
    if isinstance(key, tuple):
        return f"{ipaddress.ip_address(key[0])}/{key[1]}"
    return key.hex(":") if len(key) == 6 else str(ipaddress.ip_address(key))


def prefix_of(text):
    key = key_of(text)
    return key if isinstance(key, tuple) else (key, len(key) * 8)


def latest(world):
    return world.policies[max(world.policies)]


def rule_of(words):
    direction, family, protocol, own, other, classes, *no_open = words
    return model.Rule(direction == "to", {"0": 0, "4": model.IPV4, "6": model.IPV6}[family], int(protocol),
                      tuple(map(int, own.split("-"))), tuple(map(int, other.split("-"))), bool(no_open),
                      frozenset(classes.split(",")))


def judged_slot(world, text):
    key = key_of(text)
    return world.prefixes.setdefault(key, model.Slot()) if isinstance(key, tuple) else world.slot(key)


def obey(world, command):
    """One of oracle.c's commands, for the model."""
    name, *words = command.split()
    if name == "unknown":
        world.unknown = model.MODES[words[0]]
    elif name == "ours":
        world.ours = {key_of(word) for word in words}
    elif name == "known":
        world.slot(key_of(words[0]))
        for ip in words[1:]:
            world.slot(key_of(ip)).owner = key_of(words[0])
    elif name == "verdict":
        slot = judged_slot(world, words[0])
        slot.mode = model.MODES[words[1]]
        slot.until = time.monotonic() + float(words[2]) if len(words) > 2 else None
    elif name == "locals":
        world.networks = [prefix_of(word) for word in words]
    elif name == "bind":
        world.slot(key_of(words[0])).bound = True
    elif name == "attach":
        world.slot(key_of(words[0])).policy = int(words[1])
    elif name == "policy":
        flags = words[1].split(",")
        world.policies[int(words[0])] = model.Policy("report" in flags, "enforce" in flags)
    elif name == "rule":
        latest(world).rules.append(rule_of(words))
    elif name == "peer":
        for bit, rule in enumerate(latest(world).rules):
            if int(words[1], 16) >> bit & 1:
                rule.peers += (prefix_of(words[0]),)
    elif name != "commit":
        raise ValueError(command)


class Case:
    """What is decided, and frames: the unit in which the two are compared."""

    def __init__(self, decided, frames):
        self.decided, self.frames = decided, frames

    def run(self, oracle):
        """Where the two differ: [(program, frame, text)], and then what the counters say, [text]."""
        world = model.World()
        oracle.say(["reset"] + self.decided)
        for command in self.decided:
            obey(world, command)
        self.let_ends_pass()
        names = [name_of(key) for key in [*world.slots, *world.prefixes]]
        before = oracle.counters(names)
        runs = [(program, frame) for frame in self.frames for program in PROGRAMS]
        answers = oracle.ask([f"frame {program} {frame.hex()}" for program, frame in runs])
        tally, wrong = {}, []
        for (program, frame), answer in zip(runs, answers):
            if answer == "skip":
                continue
            ruling = world.judge(frame, program == "out")
            if answer != ("pass" if ruling.passes else "drop"):
                wrong.append((program, frame, f"kernel: {answer}, model: {'pass' if ruling.passes else 'drop'} "
                                              f"({ruling.why or 'nothing against it'})"))
            count(tally, ruling, program, len(frame))
        return wrong, [] if wrong else compare(before, oracle.counters(names), tally)

    def let_ends_pass(self):
        ends = [float(c.split()[3]) for c in self.decided if c.startswith("verdict") and len(c.split()) > 3]
        time.sleep(max([end + 0.05 for end in ends if end < 1], default=0))


def count(tally, ruling, program, length):
    at = 4 if not ruling.passes else 2 if program == "out" else 0
    for key in ruling.counted:
        moved = tally.setdefault(name_of(key), [0] * 6)
        moved[at] += 1
        moved[at + 1] += length


def compare(before, after, tally):
    """Prefixes whose verdict is over may be gone, with their counters."""
    wrong = []
    for name, were in before.items():
        are, want = after[name], tally.get(name, [0] * 6)
        got = [a - b for a, b in zip(are or [0] * 6, were or [0] * 6)]
        if got != want:
            wrong.append(f"counters of {name} moved by {got}, the model says {want}")
    return wrong


def smallest(oracle, case):
    """A case with one frame and as little decided as makes them differ still."""
    frames = case.frames
    while len(frames) > 1:
        for half in (frames[:len(frames) // 2], frames[len(frames) // 2:]):
            if any(Case(case.decided, half).run(oracle)):
                frames = half
                break
        else:
            break  # only together
    kept = list(range(len(case.decided)))
    for unit in units(case.decided):
        fewer = [i for i in kept if i not in unit]
        if any(Case([case.decided[i] for i in fewer], frames).run(oracle)):
            kept = fewer
    return Case([case.decided[i] for i in kept], frames)


def units(decided):
    """What may be left out, by place: a command, or all of a policy."""
    number, unit = None, []
    for i, command in enumerate(decided):
        name, *words = command.split()
        if name == "policy":
            number, unit = words[0], []
        if number is None:
            yield [i]
            continue
        unit.append(i)
        if name == "commit":
            yield unit + [j for j, c in enumerate(decided) if c.startswith("attach ") and c.split()[2] == number]
            number = None


def explain(oracle, case):
    """The smallest case in words: what to type into bpf_oracle, and what the frame is."""
    from scapy.layers.l2 import Ether
    least = smallest(oracle, case)
    wrong, counters = least.run(oracle)
    lines = ["", *least.decided]
    for program, frame, text in wrong:
        lines += [f"frame {program} {frame.hex()}", f"    {text}"]
    if counters:
        lines += [f"frame {program} {frame.hex()}" for frame in least.frames for program in PROGRAMS]
    lines += [f"    {text}" for text in counters]
    return "\n".join(lines + [Ether(least.frames[0]).show(dump=True)])


if __name__ == "__main__":
    sys.exit("this is a module; test_model.py and fuzz_frames.py use it")
