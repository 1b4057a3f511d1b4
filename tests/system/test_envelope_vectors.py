# SPDX-License-Identifier: GPL-2.0-only
"""The other direction of envelope_reader.py: announcements and messages written here from
INTERFACE's words with cbor2 and cryptography alone, opened by `cordon envelope open`. No daemon."""

import datetime
import json
import os
import subprocess

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from envelope_reader import Reader, Refused, kid_of
from lab import CORDON

GATEWAY = "gw-0123456789abcdef"


def p256():
    return ec.generate_private_key(ec.SECP256R1())


def certificate(key, name, issuer_key=None, issuer="Cordon test CA"):
    now = datetime.datetime.utcnow()

    def cn(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    return (x509.CertificateBuilder().subject_name(cn(name)).issuer_name(cn(issuer if issuer_key else name))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(issuer_key is None, None), True)
            .sign(issuer_key or key, hashes.SHA256()))


def wrap(cek, public):
    """One COSE_recipient: ECDH-ES + A256KW (RFC 9053 §6.3.1)."""
    ephemeral = p256()
    point = ephemeral.public_key().public_numbers()
    protected = cbor2.dumps({1: -31})
    context = cbor2.dumps([-5, [None] * 3, [None] * 3, [256, protected]])
    kek = HKDF(hashes.SHA256(), 32, None, context).derive(ephemeral.exchange(ec.ECDH(), public))
    own = {1: 2, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
    return [protected, {4: kid_of(public), -1: own}, keywrap.aes_key_wrap(kek, cek)]


def announce(kid, key, publics, signer, cert):
    cek, iv, protected = os.urandom(32), os.urandom(12), cbor2.dumps({1: 3})
    sealed = AESGCM(cek).encrypt(iv, cbor2.dumps({1: 4, 2: kid, 3: 3, -1: key}),
                                 cbor2.dumps(["Encrypt", protected, b""]))
    body = cbor2.dumps(cbor2.CBORTag(96, [protected, {5: iv}, sealed, [wrap(cek, p) for p in publics]]))
    head = cbor2.dumps({1: -7, 33: cert.public_bytes(serialization.Encoding.DER)})
    r, s = decode_dss_signature(signer.sign(cbor2.dumps(["Signature1", head, b"", body]), ec.ECDSA(hashes.SHA256())))
    return cbor2.dumps(cbor2.CBORTag(18, [head, {}, body, r.to_bytes(32, "big") + s.to_bytes(32, "big")]))


def seal(kid, key, topic="d/cam-1/x", device="cam-1", sequence=7, payload=b"payload", **more):
    head = {1: 3, 4: kid, -65537: topic, -65538: device, -65539: sequence, -65540: 1795328340123}
    head.update(more.get("extra", {}))
    for label in more.get("without", ()):
        del head[label]
    protected, iv = cbor2.dumps(head), os.urandom(12)
    sealed = AESGCM(key).encrypt(iv, payload, cbor2.dumps(["Encrypt0", protected, b""]))
    return cbor2.dumps(cbor2.CBORTag(16, [protected, {5: iv}, sealed]))


class Site:
    """A gateway's epoch, its reader, and the files that the command takes."""

    def __init__(self, place):
        self.place, self.kid, self.key = place, os.urandom(8), os.urandom(32)
        self.recipient, self.signer, self.ca_key = p256(), p256(), p256()
        self.ca = certificate(self.ca_key, "Cordon test CA")
        self.cert = certificate(self.signer, GATEWAY, self.ca_key)
        self.put("recipient.key", self.pem(self.recipient))
        self.put("ca.pem", self.ca.public_bytes(serialization.Encoding.PEM))
        self.announcement = announce(self.kid, self.key, [p256().public_key(), self.recipient.public_key()],
                                     self.signer, self.cert)
        self.put("keys", self.announcement)

    @staticmethod
    def pem(key):
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption())

    def put(self, name, data):
        path = self.place / name
        path.write_bytes(data)
        return path

    def open(self, *messages, key="recipient.key", keys="keys", options=()):
        paths = [self.put(f"message-{i}", m) for i, m in enumerate(messages)]
        args = [CORDON, "envelope", "open", "--key", self.place / key, "--keys", self.place / keys, *options, *paths]
        return subprocess.run([str(a) for a in args], capture_output=True, timeout=300, check=False)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def refused(done):
    """Exit 1, a line that says why, nothing of the contents, and no sanitizer's report."""
    assert done.returncode == 1 and done.stderr and not done.stdout, done
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode()
    return True


@pytest.mark.parametrize("payload", [b"", b"x", b'{"on":true}', bytes(range(256)), b"y" * 200000],
                         ids=["empty", "one byte", "JSON", "every byte", "long"])
def test_a_message_written_elsewhere_opens(site, payload):
    sealed = seal(site.kid, site.key, payload=payload)
    got = site.open(sealed, options=["--raw"])
    assert got.returncode == 0 and got.stdout == payload, got.stderr
    reader = Reader(site.pem(site.recipient))
    reader.key(site.announcement)
    assert reader.open(sealed).payload == payload


def test_the_address_is_shown(site):
    got = site.open(seal(site.kid, site.key, topic="d/caf\u00e9/x", device="cam-1", sequence=2**40,
                         extra={3: "text/plain"}), options=["--gateway-ca", site.place / "ca.pem"])
    line = json.loads(got.stdout)
    assert (line["topic"], line["device"], line["sequence"]) == ("d/caf\u00e9/x", "cam-1", 2**40)
    assert line["content_type"] == "text/plain" and line["payload"] == "payload"
    assert GATEWAY in line.values()


def test_one_changed_bit_in_any_byte_of_a_message_is_refused(site):
    sealed = seal(site.kid, site.key)
    forged = []
    for at in range(len(sealed)):
        data = bytearray(sealed)
        data[at] ^= 1 << at % 8
        forged.append(bytes(data))
    done = site.open(*forged)
    refused(done)
    assert len(done.stderr.splitlines()) == len(sealed), "each is told"


def test_a_changed_announcement_is_refused(site):
    sealed = seal(site.kid, site.key)
    for at in range(0, len(site.announcement), 9):
        data = bytearray(site.announcement)
        data[at] ^= 1 << at % 8
        site.put("forged", bytes(data))
        assert refused(site.open(sealed, keys="forged", options=["--gateway-ca", site.place / "ca.pem"])), at


@pytest.mark.parametrize("change", [
    {"without": [-65537]}, {"without": [-65538]}, {"without": [-65539]}, {"without": [-65540]}, {"without": [4]},
    {"extra": {1: 1}}, {"extra": {2: [-65537]}}, {"extra": {4: b"short"}}, {"extra": {-65539: -1}},
    {"extra": {-65537: b"bytes"}}, {"extra": {-65540: "text"}},
], ids=str)
def test_a_header_that_is_not_as_described_is_refused(site, change):
    refused(site.open(seal(site.kid, site.key, **change)))


def test_other_shapes_are_refused(site):
    sealed = seal(site.kid, site.key)
    item = cbor2.loads(sealed)
    protected, unprotected, body = item.value
    shapes = {
        "nothing": b"", "no CBOR": b"\xff\xff", "no tag": cbor2.dumps(list(item.value)),
        "another tag": cbor2.dumps(cbor2.CBORTag(96, list(item.value))), "cut short": sealed[:-1],
        "more behind": sealed + b"\0", "two members": cbor2.dumps(cbor2.CBORTag(16, [protected, unprotected])),
        "no IV": cbor2.dumps(cbor2.CBORTag(16, [protected, {}, body])),
        "a short IV": cbor2.dumps(cbor2.CBORTag(16, [protected, {5: b"x" * 11}, body])),
        "more beside the IV": cbor2.dumps(cbor2.CBORTag(16, [protected, {**unprotected, 99: 1}, body])),
        "of no fixed length": b"\xd0\x9f" + b"".join(map(cbor2.dumps, item.value)) + b"\xff",
        "a list of a billion": b"\xd0\x9a\x3b\x9a\xca\x00", "nested deep": b"\xd0" + b"\x81" * 100000,
        "a twin label": cbor2.dumps(cbor2.CBORTag(16, [b"\xa2\x01\x03\x01\x03", unprotected, body])),
    }
    for name, shape in shapes.items():
        assert refused(site.open(shape)), name


def test_who_it_is_not_for_is_told_so(site):
    sealed = seal(site.kid, site.key)
    site.put("stranger.key", site.pem(p256()))
    refused(site.open(sealed, key="stranger.key"))
    refused(site.open(seal(os.urandom(8), site.key)))
    refused(site.open(seal(site.kid, os.urandom(32))))
    foreign_key = p256()
    site.put("other.pem", certificate(foreign_key, "Other CA").public_bytes(serialization.Encoding.PEM))
    refused(site.open(sealed, options=["--gateway-ca", site.place / "other.pem"]))


def test_an_announcement_signed_by_somebody_else_is_refused(site):
    site.put("keys", announce(site.kid, site.key, [site.recipient.public_key()], p256(), site.cert))
    refused(site.open(seal(site.kid, site.key)))


def test_a_made_pair_opens_what_is_sealed_for_it(site):
    made = subprocess.run([CORDON, "envelope", "keygen", "--out", site.place / "mine"], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (site.place / "mine.key").stat().st_mode & 0o777 == 0o600
    public = serialization.load_pem_public_key((site.place / "mine.pub").read_bytes())
    site.put("keys", announce(site.kid, site.key, [public], site.signer, site.cert))
    got = site.open(seal(site.kid, site.key), key="mine.key", options=["--raw"])
    assert got.stdout == b"payload", got.stderr
    again = subprocess.run([CORDON, "envelope", "keygen", "--out", site.place / "mine"], capture_output=True, check=False)
    assert again.returncode == 1 and b"mine.key" in again.stderr, "nothing is overwritten"
    with pytest.raises(Refused):
        Reader((site.place / "recipient.key").read_bytes()).key((site.place / "keys").read_bytes())


@pytest.mark.parametrize("what,words", [
    ("message", b"is no sealed message"), ("empty", b"is no sealed message"), ("keys", b"is no announcement of a key"),
    ("key", b"holds no PEM key"), ("other", b"is for other recipients than --key"),
    ("ca", b"no certificate of the CA in --gateway-ca")])
def test_a_wrong_file_is_named_in_words(site, what, words):
    site.put("garbage", b"\xff" * 300)
    site.put("other.key", site.pem(p256()))
    sealed = seal(site.kid, site.key)
    if what == "message":
        got = site.open(b"\xff" * 300)
    elif what == "empty":
        got = site.open(b"")
    elif what == "ca":
        site.put("x.pem", certificate(p256(), "Other CA").public_bytes(serialization.Encoding.PEM))
        got = site.open(sealed, options=["--gateway-ca", site.place / "x.pem"])
    else:
        got = site.open(sealed, **({"key": "other.key"} if what == "other" else {what: "garbage"}))
    assert refused(got) and words in got.stderr and len(got.stderr.splitlines()) == 1, got.stderr
