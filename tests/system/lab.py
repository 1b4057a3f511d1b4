# SPDX-License-Identifier: GPL-2.0-only
"""A site in network namespaces: the real cordond, a real mosquitto as the cloud, ordinary clients as
devices. Everything a Lab makes is its own and goes with close()."""

import base64
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CORDON_BUILD", REPO / "build" / "sanitize")).resolve()
CORDOND = BUILD / "cordond"
CORDON = BUILD / "cordon"
PYTHON = "/usr/bin/python3"

GATEWAY4, GATEWAY6 = "192.168.77.1", "fd77::1"
CLOUD4, WAN4 = "10.77.0.2", "10.77.0.1"
SANITIZER = re.compile(r"ERROR: \w*Sanitizer|runtime error:|SUMMARY: \w*Sanitizer")

_serial = itertools.count(1)


class Failed(AssertionError):
    """A step of the site did not do what it must."""


def wait_until(check, seconds=15.0, what="", every=0.05):
    """The first true value of check(); fails after `seconds`, saying what was awaited."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:g} s in vain for {what or check}; last: {value!r}")
        time.sleep(every)


def run(args, check=True, timeout=30, stdin=None, **kw):
    """Run to the end; a failure shows what was said. One that hangs is killed: exit 124."""
    args = [str(a) for a in args]
    where = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(args, capture_output=True, text=True, timeout=timeout, **where, **kw)
    except subprocess.TimeoutExpired as late:
        said = [(part or b"").decode(errors="replace") for part in (late.stdout, late.stderr)]
        done = subprocess.CompletedProcess(args, 124, *said)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def openssl(*args, **kw):
    return run(["openssl", *args], **kw)


class Ns:
    """A network namespace with a mount namespace and a bpffs of its own; a holder process keeps
    both, so what is pinned there outlives every daemon."""

    def __init__(self, name):
        self.name = f"cd{os.getpid():x}-{next(_serial)}-{name}"[:40]
        self.procs = []
        run(["ip", "netns", "add", self.name])
        keep = "mount -t bpf bpf /sys/fs/bpf && echo up && exec sleep infinity"
        self.holder = subprocess.Popen(["ip", "netns", "exec", self.name, "sh", "-c", keep],
                                       stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if self.holder.stdout.readline() != b"up\n":
            raise Failed("no bpffs could be mounted; am I root?")
        self.run("ip", "link", "set", "lo", "up")
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)

    def args(self, *args):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", "--", *map(str, args)]

    def run(self, *args, **kw):
        return run(self.args(*args), **kw)

    def popen(self, *args, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        proc = subprocess.Popen(self.args(*args), **kw)
        self.procs.append(proc)
        return proc

    def watch(self, *args, **kw):
        """A process that runs on, line by line in a Reader."""
        return Reader(self.popen("stdbuf", "-oL", *args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw))

    def sysctl(self, key, value):
        self.run("sysctl", "-qw", f"{key}={value}", check=False)

    def ping(self, address, count=1, wait=1):
        """True when at least one answer came."""
        return self.run("ping", "-n", "-q", "-c", count, "-i", "0.05", "-W", wait, address,
                        check=False).returncode == 0

    def close(self):
        for proc in self.procs + [self.holder]:
            if proc.poll() is None:
                proc.kill()
            proc.wait()
            for pipe in (proc.stdin, proc.stdout, proc.stderr):
                if pipe:
                    pipe.close()
        run(["ip", "netns", "del", self.name], check=False)


class Device(Ns):
    """A thing on a LAN port of its own: a MAC, an IPv4 and an IPv6 address."""

    def __init__(self, lab, name, number, bridge=True):
        super().__init__(name)
        self.lab, self.id, self.port = lab, name, f"lan{number}"
        self.mac = f"02:00:00:00:77:{number:02x}"
        self.ip4, self.ip6 = f"192.168.77.{number + 10}", f"fd77::{number + 10:x}"
        self.dir = lab.dir / "devices" / name
        self.dir.mkdir(parents=True)
        gw = lab.gateway
        run(["ip", "link", "add", self.port, "netns", gw.name, "type", "veth",
             "peer", "name", "eth0", "address", self.mac, "netns", self.name])
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "address", "add", f"{self.ip4}/24", "dev", "eth0")
        self.run("ip", "address", "add", f"{self.ip6}/64", "dev", "eth0", "nodad")
        if bridge:
            gw.run("ip", "link", "set", self.port, "master", "br0")
        gw.run("ip", "link", "set", self.port, "up")

    # -- identity --

    @property
    def key(self):
        return self.dir / "key.pem"

    @property
    def cert(self):
        return self.dir / "cert.pem"

    @property
    def ca(self):
        return self.dir / "ca.pem"

    def request(self, cn=None):
        """A fresh key and a request for `cn`, as base64 DER."""
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key)
        name = (cn or self.id).replace("/", "\\/")
        openssl("req", "-new", "-key", self.key, "-subj", f"/CN={name}", "-outform", "DER",
                "-out", self.dir / "req.der")
        return base64.encodebytes((self.dir / "req.der").read_bytes()).decode()

    def fetch_ca(self):
        """EST cacerts, trusted at first use, as a new device would."""
        got = self.run("curl", "-sS", "-k", "--fail",
                       f"https://{GATEWAY4}:8443/.well-known/est/cacerts").stdout
        self._pkcs7(got, self.ca)

    def est(self, code, cn=None, path="simpleenroll", extra=()):
        """POST a request; (status, body)."""
        body = self.dir / "answer"
        self.run("curl", "-sS", "--cacert", self.ca, "-o", body, "-D", self.dir / "headers",
                 *(["-u", f"installer:{code}"] if code else []),
                 "-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64",
                 "--data-binary", "@-", *extra,
                 f"https://{GATEWAY4}:8443/.well-known/est/{path}", stdin=self.request(cn))
        head = (self.dir / "headers").read_text()
        return int(re.findall(r"^HTTP/\S+ (\d+)", head, re.M)[-1]), body.read_text()

    def enroll(self, code=None):
        """The whole way a device goes: CA, key, request, pairing code, certificate."""
        self.fetch_ca()
        status, body = self.est(code or self.lab.pair())
        if status != 200:
            raise Failed(f"simpleenroll: {status} {body}")
        self._pkcs7(body, self.cert)
        return self

    def _pkcs7(self, text, out):
        der = self.dir / "answer.p7"
        der.write_bytes(base64.b64decode(text))
        openssl("pkcs7", "-inform", "DER", "-in", der, "-print_certs", "-out", out)
        if "BEGIN CERTIFICATE" not in out.read_text():
            raise Failed(f"no certificate in {text[:80]}")

    # -- MQTT by mosquitto's own clients --

    def mqtt(self, tool, *args, host=GATEWAY4):
        return [f"mosquitto_{tool}", "-h", host, "-p", "8883", "--cafile", self.ca,
                "--cert", self.cert, "--key", self.key, *args]

    def publish(self, topic, payload, *args, qos=1, check=True, timeout=15):
        return self.run(*self.mqtt("pub", "-q", qos, "-t", topic, "-m", payload, *args), check=check,
                        timeout=timeout)

    def subscribe(self, topic, *args, qos=1):
        """A subscriber that runs on; lines of `topic payload` in its Reader."""
        reader = self.watch(*self.mqtt("sub", "-q", qos, "-v", "-t", topic, "-d", *args))
        wait_until(lambda: "SUBACK" in reader.text() or reader.proc.poll() is not None, 15,
                   f"the answer to SUBSCRIBE {topic}")
        return reader

    # -- a person unplugs it --

    def unplug(self):
        self.run("ip", "link", "set", "eth0", "down")

    def plug(self):
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "address", "replace", f"{self.ip6}/64", "dev", "eth0", "nodad")


class Reader:
    """What a process says, without ever blocking."""

    def __init__(self, proc):
        self.proc = proc
        self._got = b""
        os.set_blocking(proc.stdout.fileno(), False)

    def text(self):
        while True:
            try:
                part = os.read(self.proc.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not part:
                break
            self._got += part
        return self._got.decode(errors="replace")

    def lines(self):
        return self.text().splitlines()

    def wait(self, needle, seconds=15):
        return wait_until(lambda: [ln for ln in self.lines() if re.search(needle, ln)], seconds,
                          f"{needle!r} in what was said:\n{self.text()[-2000:]}")


class Pki:
    """The cloud's own throw-away CA, a broker certificate and a recipient's key pair."""

    def __init__(self, where):
        self.dir = where
        where.mkdir()
        self.ca, self.cert, self.key = where / "ca.pem", where / "broker.pem", where / "broker.key"
        ca_key = where / "ca.key"
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *ec, "-keyout", ca_key, "-out", self.ca, "-days", "30",
                "-subj", "/CN=Cloud test CA")
        openssl("req", *ec, "-keyout", self.key, "-out", where / "broker.csr", "-subj", "/CN=cloud")
        (where / "ext").write_text(f"subjectAltName=IP:{CLOUD4},IP:127.0.0.1,DNS:cloud.test\n")
        openssl("x509", "-req", "-in", where / "broker.csr", "-CA", self.ca, "-CAkey", ca_key,
                "-CAcreateserial", "-days", "30", "-extfile", where / "ext", "-out", self.cert)
        self.key.chmod(0o644)  # mosquitto reads it as its own user
        self.recipient, self.recipient_pub = self.recipient_pair("recipient")

    def recipient_pair(self, name):
        private, public = self.dir / f"{name}.key", self.dir / f"{name}.pub"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", private)
        openssl("pkey", "-in", private, "-pubout", "-out", public)
        return private, public


class Cloud(Ns):
    """A real mosquitto with TLS behind the uplink."""

    def __init__(self, lab):
        super().__init__("cloud")
        self.lab, self.pki, self.broker = lab, lab.pki, None
        self.url = f"mqtts://{CLOUD4}:8883"
        self.log = lab.dir / "broker.log"
        store = lab.dir / "broker"
        store.mkdir()
        store.chmod(0o777)
        self.log.touch()
        self.log.chmod(0o666)
        self.conf = lab.dir / "broker.conf"
        self.conf.write_text(
            f"listener 8883\ncafile {self.pki.ca}\ncertfile {self.pki.cert}\nkeyfile {self.pki.key}\n"
            "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n"
            f"persistence true\npersistence_location {store}/\nautosave_interval 1800\n"
            f"log_dest file {self.log}\nlog_type all\nlog_timestamp false\n")

    def start(self):
        self.broker = self.popen("mosquitto", "-c", self.conf)
        wait_until(lambda: self.run("sh", "-c", "ss -ltn | grep -q :8883", check=False).returncode == 0,
                   10, "the cloud's broker to listen")

    def stop(self, how=signal.SIGTERM):
        self.broker.send_signal(how)
        self.broker.wait(10)

    def client(self, tool, *args):
        return [f"mosquitto_{tool}", "-h", CLOUD4, "-p", "8883", "--cafile", self.pki.ca, *args]

    def collect(self, filter_="#"):
        """Everything that reaches the cloud, from now on, into a Collector."""
        return Collector(self, filter_)


class Collector:
    """A cloud-side subscriber at QoS 1 that keeps every message in a file."""

    def __init__(self, cloud, filter_):
        self.path = cloud.lab.dir / f"collected-{next(_serial)}.jsonl"
        self.proc = cloud.popen(PYTHON, Path(__file__).with_name("collector.py"), CLOUD4, "8883",
                                cloud.pki.ca, filter_, self.path, stdout=subprocess.PIPE)
        self.reader, self.subscriptions = Reader(self.proc), 0
        self.wait_subscribed()

    def wait_subscribed(self):
        """Until it has subscribed once more, at first or after the broker was away."""
        self.subscriptions += 1
        wait_until(lambda: len(self.reader.lines()) >= self.subscriptions, 30, "the cloud's reader to subscribe")

    def messages(self):
        """[(topic, payload bytes, retained)] in the order of arrival."""
        out = []
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                topic, payload, retained = json.loads(line)
                out.append((topic, bytes.fromhex(payload), retained))
        return out


def libconf(value):
    """A Python value in libconfig's words; tuples are lists, lists are arrays."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, Path)):
        return json.dumps(str(value))
    if isinstance(value, dict):
        return "{ " + " ".join(f"{k} = {libconf(v)};" for k, v in value.items()) + " }"
    if isinstance(value, tuple):
        return "( " + ", ".join(map(libconf, value)) + " )"
    if isinstance(value, list):
        return "[ " + ", ".join(map(libconf, value)) + " ]"
    return repr(value)


class Daemon:
    """cordond in the gateway's namespace."""

    def __init__(self, lab):
        self.lab, self.ns, self.proc = lab, lab.gateway, None
        self.log = lab.dir / "cordond.log"
        self.conf = lab.dir / "cordon.conf"
        self.state = lab.dir / "state"
        self.run_dir = lab.dir / "run"
        self.socket = self.run_dir / "admin.sock"
        self.settings = {
            "gateway": {"name": "Test house", "state_dir": self.state, "run_dir": self.run_dir},
            "uplink": {},
        }
        self.clean = True  # must end with status 0
        self.program = [CORDOND]

    def configure(self, **groups):
        """Merge groups of keys into the configuration and write it."""
        for group, keys in groups.items():
            self.settings.setdefault(group, {}).update(keys)
        text = "".join(f"{g} = {libconf(k)};\n" for g, k in self.settings.items() if k)
        self.conf.write_text(text)
        return self

    def env(self):
        options = "detect_leaks=1:abort_on_error=0:disable_coredump=1:handle_segv=1:verify_asan_link_order=0"
        return {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", options),
                "UBSAN_OPTIONS": "print_stacktrace=1"}

    def start(self, wait=True):
        if not self.conf.exists():
            self.configure()
        with open(self.log, "ab") as log:
            self.proc = self.ns.popen(*self.program, "-c", self.conf, stdout=log, stderr=log, env=self.env())
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=30):
        def ready():
            if self.proc.poll() is not None:
                raise Failed(f"cordond ended with {self.proc.returncode}:\n{self.tail()}")
            return self.cordon("status", "--json", check=False).returncode == 0
        wait_until(ready, seconds, "cordond to answer on its socket", every=0.1)

    def stop(self, seconds=20):
        """SIGTERM, and an orderly end."""
        if self.proc is None or self.proc.poll() is not None:
            return
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            raise Failed(f"cordond did not end on SIGTERM:\n{self.tail()}")
        if self.proc.returncode != 0:
            raise Failed(f"cordond ended with {self.proc.returncode}:\n{self.tail()}")

    def reload(self):
        self.proc.send_signal(signal.SIGHUP)

    # -- its two processes: nsenter executes cordond in place, so proc.pid is the enforcer --

    @property
    def enforcer(self):
        return self.proc.pid

    @property
    def worker(self):
        """The worker's pid, 0 while there is none."""
        task = Path(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children")
        try:
            for pid in task.read_text().split():
                if b"--worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        except FileNotFoundError:
            pass
        return 0

    def kill_worker(self):
        """Its pid, when it is gone."""
        worker = wait_until(lambda: self.worker, 20, "a worker to kill")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: self.worker != worker, 10, "the worker to be gone")
        return worker

    def kill_enforcer(self):
        """Only the enforcer dies; what becomes of the worker is the daemon's business."""
        self.proc.kill()
        self.proc.wait()

    def kill_both(self):
        worker = self.worker
        self.proc.send_signal(signal.SIGKILL)
        if worker:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()
        wait_until(lambda: not worker or not Path(f"/proc/{worker}").exists()
                   or "Z" in Path(f"/proc/{worker}/stat").read_text().split(")")[1][:3], 10,
                   "the worker to be gone")

    # -- what a person asks it --

    def cordon(self, *args, check=True, timeout=20):
        return self.ns.run(CORDON, "--socket", self.socket, *args, check=check, timeout=timeout,
                           env=self.env())

    def json(self, *args):
        return json.loads(self.cordon(*args, "--json").stdout)

    def api(self, method, path, body=None, check=True):
        """The admin API over the Unix socket: (status, JSON or None)."""
        out = self.lab.dir / "api.out"
        args = ["curl", "-sS", "--unix-socket", self.socket, "-X", method, "-o", out, "-w", "%{http_code}",
                "-H", "content-type: application/json"]
        if body is not None:
            args += ["--data-binary", json.dumps(body)]
        out.unlink(missing_ok=True)
        status = int(self.ns.run(*args, f"http://cordon{path}").stdout)
        text = out.read_text() if out.exists() else ""
        if check and status >= 400:
            raise Failed(f"{method} {path}: {status} {text}")
        return status, json.loads(text) if text.strip() else None

    def device(self, id_):
        return self.api("GET", f"/api/v1/devices/{id_}")[1]

    def tail(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def reports(self):
        """What a sanitizer complained of."""
        if not self.log.exists():
            return []
        text = self.log.read_text(errors="replace")
        found = SANITIZER.search(text)
        return [text[max(0, found.start() - 200):found.start() + 6000]] if found else []


class Lab:
    """Gateway, cloud, and as many devices as a test asks for."""

    def __init__(self, uplink=True):
        self.dir = Path(tempfile.mkdtemp(prefix="cordon-test-"))
        self.dir.chmod(0o755)  # the daemon's own user passes through
        self.devices, self.gateway, self.cloud = [], None, None
        try:
            self._build(uplink)
        except BaseException:
            self.close()
            raise

    def _build(self, uplink):
        self.pki = Pki(self.dir / "cloud")
        self.gateway = Ns("gw")
        self.gateway.run("ip", "link", "add", "br0", "address", "02:00:00:00:77:fe", "type", "bridge",
                         "forward_delay", "0", "mcast_snooping", "0")
        self.gateway.run("ip", "address", "add", f"{GATEWAY4}/24", "dev", "br0")
        self.gateway.run("ip", "address", "add", f"{GATEWAY6}/64", "dev", "br0", "nodad")
        self.gateway.run("ip", "link", "set", "br0", "up")
        self.daemon = Daemon(self)
        self.cloud = Cloud(self)
        run(["ip", "link", "add", "wan0", "netns", self.gateway.name, "type", "veth",
             "peer", "name", "eth0", "netns", self.cloud.name])
        self.gateway.run("ip", "address", "add", f"{WAN4}/30", "dev", "wan0")
        self.gateway.run("ip", "link", "set", "wan0", "up")
        self.cloud.run("ip", "address", "add", f"{CLOUD4}/30", "dev", "eth0")
        self.cloud.run("ip", "link", "set", "eth0", "up")
        self.gateway.run("ip", "route", "add", "default", "via", CLOUD4)
        if uplink:
            self.cloud.start()
            self.daemon.configure(uplink={"brokers": [self.cloud.url], "ca_file": self.pki.ca,
                                          "recipients": [self.pki.recipient_pub]})

    def device(self, name, **kw):
        device = Device(self, name, len(self.devices) + 1, **kw)
        self.devices.append(device)
        return device

    def enrolled(self, name, **kw):
        """A device with its certificate in hand, as after pairing."""
        return self.device(name, **kw).enroll()

    def pair(self, seconds=300):
        return self.daemon.api("POST", "/api/v1/pairing", {"seconds": seconds})[1]["code"]

    def cut_uplink(self):
        self.gateway.run("ip", "link", "set", "wan0", "down")

    def restore_uplink(self):
        self.gateway.run("ip", "link", "set", "wan0", "up")
        self.gateway.run("ip", "route", "replace", "default", "via", CLOUD4)

    def unpin(self):
        """What a reboot does to the kernel's memory of verdicts."""
        self.gateway.run(CORDOND, "--unpin", env=self.daemon.env())

    def close(self):
        for ns in [*self.devices, self.cloud, self.gateway]:
            if ns:
                ns.close()
        shutil.rmtree(self.dir, ignore_errors=True)
