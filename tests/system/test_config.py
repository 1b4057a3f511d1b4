# SPDX-License-Identifier: GPL-2.0-only
"""A wrong configuration is named with file, line, key, value and what is allowed, and nothing starts."""

import re

import pytest

from lab import CORDOND, Failed, run, wait_until

WRONG = [
    ("an unknown key", 'gateway = {\n  nmae = "x";\n};\n', 2, "nmae", None),
    ("an unknown group", "\nlisteners = { };\n", 2, "listeners", None),
    ("a number out of range", "presence = {\n\n  timeout_s = 0;\n};\n", 3, "presence.timeout_s", "0"),
    ("a word that is no choice", 'lan = {\n  new_devices = "allow";\n};\n', 2, "lan.new_devices", "allow"),
    ("a text where a number belongs", 'limits = {\n  connections = "many";\n};\n', 2, "limits.connections", "many"),
    ("an address that is none", 'listen = {\n  mqtt = [ "999.1.1.1:1" ];\n};\n', 2, "listen.mqtt", "999.1.1.1:1"),
    ("a grant with a bad filter",
     'access = {\n  grants = ( { class = "c"; topic = "a/#/b"; permissions = [ "pub" ]; } );\n};\n', 2,
     "topic", "a/#/b"),
    ("a protected address that is none", 'quarantine = {\n  protected = [ "router" ];\n};\n', 2,
     "quarantine.protected", "router"),
    ("a broker without TLS", 'uplink = {\n  brokers = [ "mqtt://c:1883" ];\n};\n', 2, "uplink.brokers", "mqtt://c:1883"),
    ("a file that is not there", 'uplink = {\n  ca_file = "/nowhere/ca.pem";\n};\n', 2, "uplink.ca_file", "/nowhere/ca.pem"),
    ("a broken line", "gateway = {\n  name = \n};\n", 3, "", None),
]


def check(path):
    return run([CORDOND, "-c", path, "--check"], check=False)


@pytest.mark.parametrize("name,text,line,key,value", WRONG, ids=[w[0] for w in WRONG])
def test_a_fault_is_named_with_its_place(tmp_path, name, text, line, key, value):
    path = tmp_path / "cordon.conf"
    path.write_text(text)
    got = check(path)
    assert got.returncode == 1, got
    said = got.stderr
    assert f"{path}:{line}" in said, said
    assert key.split(".")[-1] in said, said
    assert value is None or value in said, said
    assert len(said.strip().splitlines()) == 1, "one line says it"


def test_brokers_without_recipients_are_refused(tmp_path):
    path = tmp_path / "cordon.conf"
    path.write_text('uplink = { brokers = [ "mqtts://c:8883" ]; };\n')
    got = check(path)
    assert got.returncode == 1 and "recipients" in got.stderr, got


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    got = check(tmp_path / "none.conf")
    assert got.returncode == 1 and "none.conf" in got.stderr, got


def test_the_shipped_configuration_is_right():
    from lab import REPO
    got = check(REPO / "etc" / "cordon.conf")
    assert got.returncode == 0, got.stderr


def test_every_shipped_key_is_the_default(tmp_path):
    """Uncommenting what etc/cordon.conf shows changes nothing, so what it says is true."""
    from lab import REPO
    text = (REPO / "etc" / "cordon.conf").read_text()
    path = tmp_path / "cordon.conf"
    path.write_text(re.sub(r"(?m)^#(?=[a-z}]|    )", "", text))
    got = check(path)
    assert got.returncode == 0, got.stderr


@pytest.mark.parametrize("args,status", [(["--help"], 0), (["--nonsense"], 2), (["extra"], 2)])
def test_usage(args, status):
    assert run([CORDOND, *args], check=False).returncode == status


def test_nothing_starts_with_a_wrong_file(lab):
    lab.daemon.conf.write_text("gateway = { nmae = 1; };\n")
    with pytest.raises(Failed, match="nmae"):
        lab.daemon.start()
    assert not lab.daemon.state.exists()
    lab.daemon.proc = None


def test_a_missing_user_is_a_clear_error(lab):
    lab.daemon.configure(gateway={"user": "no-such-user"})
    with pytest.raises(Failed, match="no-such-user"):
        lab.daemon.start()
    lab.daemon.proc = None


def test_reload_applies_a_good_file_and_refuses_a_bad_one(lab):
    daemon = lab.daemon.start()
    daemon.configure(gateway={"name": "Second name"})
    daemon.reload()
    wait_until(lambda: daemon.json("status")["gateway"]["name"] == "Second name", 10, "the new name")
    daemon.conf.write_text("presence = { timeout_s = -5; };\n")
    daemon.reload()
    wait_until(lambda: "timeout_s" in daemon.log.read_text(), 10, "the refusal in the log")
    assert daemon.json("status")["gateway"]["name"] == "Second name"


def test_state_is_made_with_the_right_owner_and_modes(lab):
    daemon = lab.daemon.start()
    import pwd
    cordon = pwd.getpwnam("cordon").pw_uid
    assert daemon.state.stat().st_uid == cordon
    assert (daemon.state / "pki").stat().st_mode & 0o777 == 0o700
    for path in (daemon.state / "pki").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert daemon.socket.stat().st_mode & 0o007 == 0


def test_the_worker_has_no_privilege(lab):
    daemon = lab.daemon.start()
    status = open(f"/proc/{daemon.worker}/status").read()
    import pwd
    assert re.search(rf"^Uid:(\s+{pwd.getpwnam('cordon').pw_uid}){{4}}$", status, re.M), status
    for caps in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert caps == "CapBnd" or re.search(rf"^{caps}:\s+0+$", status, re.M), (caps, status)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
