# SPDX-License-Identifier: GPL-2.0-only
"""A wrong configuration is named with file, line, key, value and what is allowed, and nothing starts."""

import os
import re
import signal

import pytest

from lab import CORDOND, Failed, openssl, run, wait_until

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
    ("a grant for a class that is no text, which must not become everybody's",
     'access = {\n  grants = ( { class = 7; topic = "a"; permissions = [ "pub" ]; } );\n};\n', 2, "access.grants", "7"),
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


FILES = [
    ("no key at all", "recipients = [ \"{garbage}\" ];", "uplink.recipients", "garbage.pem", "holds none; allowed: a PEM public key"),
    ("a recipient's private key", "recipients = [ \"{key}\" ];", "uplink.recipients", "key.pem", "a private key"),
    ("no CA", "ca_file = \"{garbage}\";", "uplink.ca_file", "garbage.pem", "PEM certificates"),
    ("another key's certificate", "cert_file = \"{cert}\"; key_file = \"{other}\";", "uplink.cert_file", "cert.pem",
     "the certificate of that key"),
    ("a public key for a private one", "cert_file = \"{cert}\"; key_file = \"{public}\";", "uplink.key_file", "public.pem",
     "a public key"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("files")
    made = {name: where / f"{name}.pem" for name in ("garbage", "key", "other", "public", "cert")}
    made["garbage"].write_text("-----BEGIN NOTHING-----\n")
    for name in ("key", "other"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", made[name])
    openssl("pkey", "-in", made["key"], "-pubout", "-out", made["public"])
    openssl("req", "-x509", "-key", made["key"], "-subj", "/CN=x", "-out", made["cert"])
    return made


@pytest.mark.parametrize("name,text,key,value,why", FILES, ids=[f[0] for f in FILES])
def test_a_file_that_is_not_what_its_key_says(tmp_path, files, name, text, key, value, why):
    path = tmp_path / "cordon.conf"
    path.write_text("uplink = {\n  " + text.format(**files) + "\n};\n")
    got = check(path)
    assert got.returncode == 1, got
    for word in (f"{path}:2: {key}: found ", value, why, "; allowed: "):
        assert word in got.stderr, got.stderr
    assert len(got.stderr.strip().splitlines()) == 1, "one line says it"


def test_a_manufacturers_file_without_a_certificate_is_named(tmp_path, files):
    path = tmp_path / "cordon.conf"
    (tmp_path / "makers").mkdir()
    (tmp_path / "makers" / "acme.pem").write_bytes(files["garbage"].read_bytes())
    path.write_text(f'enroll = {{ manufacturers_dir = "{tmp_path}/makers"; }};\n')
    got = check(path)
    assert got.returncode == 1 and "acme.pem" in got.stderr, got


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


@pytest.mark.parametrize("user", ["no-such-user", "root"])
def test_a_wrong_user_is_a_clear_error(lab, user):
    lab.daemon.configure(gateway={"user": user})
    said = check(lab.daemon.conf)
    assert said.returncode == 1 and user in said.stderr, said
    with pytest.raises(Failed, match=user):
        lab.daemon.start()
    lab.daemon.proc = None


def test_a_port_in_use_is_said_once_and_ends_it(lab):
    busy = lab.gateway.popen("socat", "TCP6-LISTEN:8883,fork", "PIPE")
    wait_until(lambda: ":8883" in lab.gateway.run("ss", "-ltn").stdout, 10, "the other program to listen")
    with pytest.raises(Failed, match="ended with 1"):
        lab.daemon.start()
    assert lab.daemon.log.read_text().count("cannot listen for=mqtt at=[::]:8883: Address already in use") == 1
    busy.kill()
    busy.wait()
    lab.daemon.start()


def test_an_interface_that_is_not_there_is_said(lab):
    lab.daemon.configure(lan={"interfaces": ["auto", "eth77"]}).start()
    assert "there is no interface eth77" in lab.daemon.log.read_text()
    assert "no interface auto" not in lab.daemon.log.read_text()


def test_reload_moves_the_admin_port(lab):
    """Also to one that only root may open; what cannot be is refused whole."""
    def page(port):
        return lab.gateway.run("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "3",
                               f"https://127.0.0.1:{port}/", check=False).stdout == "200"
    daemon = lab.daemon.start()
    assert page(443)
    daemon.configure(admin={"https": ["[::]:443", "127.0.0.1:844"]})
    daemon.reload()
    wait_until(lambda: page(844), 10, "the second port")
    assert page(443)
    daemon.configure(admin={"https": ["127.0.0.1:844"]})
    daemon.reload()
    wait_until(lambda: not page(443), 10, "the first port to be left")
    assert page(844)
    taken = lab.gateway.popen("socat", "TCP-LISTEN:845,reuseaddr", "EXEC:/bin/true")
    wait_until(lambda: "845" in lab.gateway.run("ss", "-ltnH").stdout, 5, "somebody else's port")
    daemon.configure(admin={"https": ["127.0.0.1:845"]}, gateway={"name": "Not this"})
    daemon.reload()
    wait_until(lambda: "cannot listen at 127.0.0.1:845" in daemon.log.read_text(), 10, "the refusal")
    assert page(844) and daemon.json("status")["gateway"]["name"] == "Test house", "nothing changed"
    taken.kill()
    os.kill(daemon.worker, signal.SIGKILL)
    wait_until(lambda: page(844), 20, "the next worker at the port in force")


def test_reload_applies_a_good_file_and_refuses_a_bad_one(lab):
    daemon = lab.daemon.start()
    daemon.configure(gateway={"name": "Second name"})
    daemon.reload()
    wait_until(lambda: daemon.json("status")["gateway"]["name"] == "Second name", 10, "the new name")
    daemon.conf.write_text("presence = { timeout_s = -5; };\n")
    daemon.reload()
    wait_until(lambda: "timeout_s" in daemon.log.read_text(), 10, "the refusal in the log")
    assert daemon.json("status")["gateway"]["name"] == "Second name"


def test_a_reload_says_what_takes_a_restart(lab):
    daemon = lab.daemon.start()
    words = "isolation.addresses and isolation.ingress change only with a restart"
    daemon.configure(gateway={"name": "Second name"}, isolation={"bind": False})
    daemon.reload()
    wait_until(lambda: "configuration reloaded" in daemon.log.read_text(), 10, "the reload")
    assert "only with a restart" not in daemon.log.read_text(), "this is applied"
    for change in ({"addresses": 1024}, {"ingress": "tc"}):
        before = daemon.log.read_text().count(words)
        daemon.configure(isolation=change)
        daemon.reload()
        wait_until(lambda n=before: daemon.log.read_text().count(words) > n, 10, f"what {change} takes")
    daemon.configure(listen={"mqtt": ["[::]:8883", "127.0.0.1:8884"]})
    daemon.reload()
    wait_until(lambda: "run_dir and user, and listen change only with a restart" in daemon.log.read_text(), 10, "listen")


def test_a_bad_key_file_changes_nothing_either(lab, files):
    """The uplink goes on with the keys it has; nothing of the bad file is in force anywhere."""
    daemon = lab.daemon.start()
    collected = lab.cloud.collect()
    daemon.configure(gateway={"name": "Never"}, uplink={"recipients": [files["garbage"]]})
    daemon.reload()
    wait_until(lambda: "uplink.recipients" in daemon.log.read_text(), 10, "the refusal in the log")
    lab.enrolled("cam-1").publish("d/cam-1/x", "still sealed")
    wait_until(lambda: [t for t, *_ in collected.messages() if t.endswith("/up/d/cam-1/x")], 15, "the sealed message")
    assert daemon.json("status")["gateway"]["name"] == "Test house"
    assert any("uplink.recipients" in e.get("text", "") for e in daemon.json("events")), "the page says it, too"


def test_a_worker_comes_back_while_the_file_is_being_edited(lab):
    """What was not reloaded does not come into force by a crash, and a broken file keeps nobody away."""
    daemon = lab.daemon.start()
    for text in ('gateway = { nmae = "x"; };\n', 'gateway = { name = "Never asked for"; };\n'):
        daemon.conf.write_text(text)
        daemon.kill_worker()
        daemon.wait_ready()
        assert daemon.json("status")["gateway"]["name"] == "Test house"


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
