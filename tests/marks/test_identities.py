"""Keys that sign: the one that keyface makes, and those that are given."""

import stat
import threading
from pathlib import Path

import pytest
from certificates import chain, pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import load_pem_x509_certificates

from keyface.marks.identities import Identity, given_identity, identity_file, own_identity


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_key_is_made_once_and_is_for_its_owner_alone(data: Path) -> None:
    made = own_identity()
    path = data / "keyface" / "signing.pem"
    assert path == identity_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert own_identity() == made
    assert made.self_made
    assert b"PRIVATE" not in repr(made).encode(), "a key is never printed"
    signer, authority = made.certificates
    signer.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)
    assert sorted(path.parent.iterdir()) == [path], "nothing is left beside it"


def test_of_several_that_make_a_key_at_once_all_get_the_same(data: Path) -> None:
    gate, made = threading.Barrier(8), []

    def make() -> None:
        gate.wait()
        made.append(own_identity().key)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert set(made) == {own_identity().key}


def test_a_key_whose_time_is_over_is_replaced_and_a_damaged_one_is_said(data: Path) -> None:
    path = identity_file()
    path.parent.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(pem(key) + chain(key, days=-1)[0])
    assert own_identity().key != pem(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"signing\.pem \(move it away.*no private key"):
        own_identity()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot be kept there.*give --sign"):
        own_identity()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "es256"),
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_keys_of_ones_own_are_read_from_two_files_or_one(key: object, algorithm: str, tmp_path: Path) -> None:
    assert isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey)
    certificates, _ = chain(key)
    (tmp_path / "key.pem").write_bytes(pem(key))
    (tmp_path / "chain.pem").write_bytes(certificates)
    (tmp_path / "both.pem").write_bytes(certificates + pem(key))
    expected = Identity(pem(key), certificates, algorithm, False)
    assert given_identity(f"{tmp_path}/key.pem:{tmp_path}/chain.pem") == expected
    assert given_identity(str(tmp_path / "both.pem")) == expected
    assert load_pem_x509_certificates(expected.chain)[0].subject.rfc4514_string() == expected.name


def test_what_cannot_sign_is_one_line(tmp_path: Path) -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256K1())
    files = {
        "key": pem(key),
        "locked": pem(key, b"secret"),
        "strange": pem(other),
        "chain": chain(key)[0],
        "strange_chain": chain(other)[0],
        "old": chain(key, days=-2)[0],
        "nothing": b"nothing",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for given, said in (
        ("key:chain_that_is_not_there", "no such file"),
        ("key", "holds no certificates"),
        ("nothing:chain", "no private key"),
        ("key:nothing", "no certificates"),
        ("locked:chain", "has a password"),
        ("key:strange_chain", "not that of the key"),
        ("strange:strange_chain", "does not sign with such a key"),
        ("key:old", "is valid from"),
    ):
        paths = ":".join(str(tmp_path / each) for each in given.split(":"))
        with pytest.raises((ValueError, FileNotFoundError), match=f"^--sign .*{said}"):
            given_identity(paths)
