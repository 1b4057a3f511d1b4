# SPDX-License-Identifier: GPL-2.0-only
"""An independent reader of what leaves the gateway, from INTERFACE's words alone: cbor2 and
cryptography, nothing of Cordon. `Reader(private key)`, then key() for each announcement and open()
for each message; anything that is not exactly right raises Refused."""

import hashlib
from dataclasses import dataclass

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ENCRYPT0, ENCRYPT, SIGN1 = 16, 96, 18
ES256, A256GCM, ECDH_ES_A256KW, A256KW = -7, 3, -31, -5
ALG, CONTENT_TYPE, KID, IV, X5CHAIN = 1, 3, 4, 5, 33
TOPIC, DEVICE, SEQUENCE, TIME = -65537, -65538, -65539, -65540
EPHEMERAL = -1


class Refused(Exception):
    """It does not open, and why."""


@dataclass
class Message:
    topic: str
    device: str
    sequence: int
    time_ms: int
    content_type: object
    kid: bytes
    payload: bytes


def must(truth, why):
    if not truth:
        raise Refused(why)


def decode(data, tag, members):
    try:
        item = cbor2.loads(data)
    except Exception as fault:  # cbor2 raises several kinds
        raise Refused(f"no CBOR: {fault}") from fault
    must(isinstance(item, cbor2.CBORTag) and item.tag == tag, f"not tag {tag}")
    must(isinstance(item.value, (list, tuple)) and len(item.value) == members, "wrong number of members")
    return item.value


def header(raw):
    must(isinstance(raw, bytes), "protected header is no byte string")
    try:
        got = cbor2.loads(raw) if raw else {}
    except Exception as fault:
        raise Refused(f"protected header: {fault}") from fault
    must(isinstance(got, dict), "protected header is no map")
    return got


def kid_of(public):
    """First 8 bytes of SHA-256 of the DER SubjectPublicKeyInfo."""
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()[:8]


class Reader:
    def __init__(self, private_pem, gateway_ca_pem=None):
        self.private = serialization.load_pem_private_key(private_pem, None)
        self.kid = kid_of(self.private.public_key())
        self.ca = x509.load_pem_x509_certificate(gateway_ca_pem) if gateway_ca_pem else None
        self.epochs = {}  # kid -> AES key

    # -- epoch keys --

    def key(self, data):
        """Take one announcement; returns the epoch's kid."""
        protected, _, payload, signature = decode(data, SIGN1, 4)
        self._verify(protected, payload, signature)
        kid, key = self._unwrap(payload)
        self.epochs[kid] = key
        return kid

    def _verify(self, protected, payload, signature):
        head = header(protected)
        must(head.get(ALG) == ES256, "not ES256")
        chain = head.get(X5CHAIN)
        chain = [chain] if isinstance(chain, bytes) else chain
        must(chain, "no certificate")
        cert = x509.load_der_x509_certificate(chain[0])
        if self.ca:
            try:
                self.ca.public_key().verify(cert.signature, cert.tbs_certificate_bytes,
                                            ec.ECDSA(cert.signature_hash_algorithm))
            except InvalidSignature as fault:
                raise Refused("the gateway's certificate is not of its CA") from fault
        must(len(signature) == 64, "signature length")
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        signed = cbor2.dumps(["Signature1", protected, b"", payload])
        try:
            cert.public_key().verify(der, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as fault:
            raise Refused("the announcement's signature is wrong") from fault

    def _unwrap(self, payload):
        protected, unprotected, sealed, recipients = decode(payload, ENCRYPT, 4)
        head = header(protected)
        must(head.get(ALG) == A256GCM, "body not A256GCM")
        iv = unprotected.get(IV)
        must(isinstance(iv, bytes) and len(iv) == 12, "IV")
        cek = self._recipient(recipients)
        try:
            plain = AESGCM(cek).decrypt(iv, sealed, cbor2.dumps(["Encrypt", protected, b""]))
        except InvalidTag as fault:
            raise Refused("the epoch key does not open") from fault
        key = cbor2.loads(plain)
        must(key.get(1) == 4 and key.get(3) == A256GCM and len(key.get(2, b"")) == 8 and len(key.get(-1, b"")) == 32,
             "not the COSE_Key that INTERFACE describes")
        return key[2], key[-1]

    def _recipient(self, recipients):
        for protected, unprotected, wrapped in recipients:
            if unprotected.get(KID) != self.kid:
                continue
            must(header(protected).get(ALG) == ECDH_ES_A256KW, "recipient's algorithm")
            e = {**header(protected), **unprotected}.get(EPHEMERAL)
            must(isinstance(e, dict) and e.get(1) == 2 and e.get(-1) == 1, "ephemeral key is not P-256")
            y = e[-3]
            if isinstance(y, bool):
                point = bytes([3 if y else 2]) + e[-2]
            else:
                point = b"\x04" + e[-2] + y
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            secret = self.private.exchange(ec.ECDH(), public)
            # RFC 9053 §5.2: AlgorithmID, PartyUInfo, PartyVInfo, SuppPubInfo.
            context = cbor2.dumps([A256KW, [None, None, None], [None, None, None], [256, protected]])
            kek = HKDF(hashes.SHA256(), 32, None, context).derive(secret)
            try:
                return keywrap.aes_key_unwrap(kek, wrapped)
            except keywrap.InvalidUnwrap as fault:
                raise Refused("the wrapped key does not unwrap") from fault
        raise Refused("not for this recipient")

    # -- messages --

    def open(self, data):
        protected, unprotected, sealed = decode(data, ENCRYPT0, 3)
        head = header(protected)
        must(head.get(ALG) == A256GCM, "not A256GCM")
        must(isinstance(unprotected, dict) and isinstance(sealed, bytes), "not a map and a byte string")
        kid, iv = head.get(KID), unprotected.get(IV)
        must(isinstance(kid, bytes) and len(kid) == 8, "kid")
        must(isinstance(iv, bytes) and len(iv) == 12, "IV")
        must(set(unprotected) == {IV}, "more in the unprotected header than the IV")
        must(kid in self.epochs, "no key of this epoch")
        aad = cbor2.dumps(["Encrypt0", protected, b""])
        try:
            payload = AESGCM(self.epochs[kid]).decrypt(iv, sealed, aad)
        except InvalidTag as fault:
            raise Refused("it was changed, or is under another key") from fault
        out = Message(head.get(TOPIC), head.get(DEVICE), head.get(SEQUENCE), head.get(TIME), head.get(CONTENT_TYPE),
                      kid, payload)
        must(isinstance(out.topic, str) and isinstance(out.device, str), "no address")
        must(isinstance(out.sequence, int) and out.sequence >= 0 and isinstance(out.time_ms, int), "no sequence or time")
        return out

    def everything(self, messages):
        """[(topic at the cloud, payload, …)] → the opened Messages, keys taken as they come."""
        out = []
        for topic, payload, *_ in messages:
            parts = topic.split("/")
            if len(parts) == 4 and parts[2] == "key":
                must(self.key(payload).hex() == parts[3], "announcement under another kid's topic")
        for topic, payload, *_ in messages:
            parts = topic.split("/", 3)
            if len(parts) == 4 and parts[2] == "up":
                message = self.open(payload)
                must(message.topic == parts[3], f"{message.topic} came under {topic}")
                out.append(message)
        return out
