"""Certificates of a cluster, looked at by openssl."""

import stat
import subprocess

import pytest

from cluster.certificates import CertificateError, make_authority, sign_node


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)


@pytest.fixture
def signed(tmp_path):
    make_authority(tmp_path)
    sign_node(tmp_path, "10.0.0.7")
    return tmp_path


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_a_node_is_believed_in_both_directions(signed, purpose):
    told = openssl(
        *("verify", "-purpose", purpose, "-verify_ip", "10.0.0.7"),
        *("-CAfile", signed / "ca.crt", signed / "node.crt"),
    )

    assert told.returncode == 0, told.stderr


def test_a_certificate_is_good_for_no_other_address(signed):
    told = openssl(
        "verify", "-verify_ip", "10.0.0.8", "-CAfile", signed / "ca.crt", signed / "node.crt"
    )

    assert told.returncode != 0


def test_a_node_of_another_authority_is_not_believed(signed, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    make_authority(other)

    assert openssl("verify", "-CAfile", other / "ca.crt", signed / "node.crt").returncode != 0


def test_a_node_is_no_authority(signed):
    text = openssl("x509", "-in", signed / "node.crt", "-noout", "-text").stdout

    assert "CA:TRUE" not in text
    assert "CA:TRUE" in openssl("x509", "-in", signed / "ca.crt", "-noout", "-text").stdout


def test_keys_are_their_owners_alone(signed):
    for name in ("ca.key", "node.key"):
        assert stat.S_IMODE((signed / name).stat().st_mode) == 0o600


def test_again_makes_nothing_new_and_another_address_another_certificate(signed):
    before = {file.name: file.read_bytes() for file in signed.iterdir()}

    make_authority(signed)
    sign_node(signed, "10.0.0.7")
    assert {file.name: file.read_bytes() for file in signed.iterdir()} == before

    sign_node(signed, "10.0.0.8")
    assert (signed / "ca.crt").read_bytes() == before["ca.crt"]
    assert (signed / "node.crt").read_bytes() != before["node.crt"]


def test_a_host_that_got_its_certificate_needs_no_authority(signed):
    (signed / "ca.key").unlink()

    sign_node(signed, "10.0.0.7")
    with pytest.raises(CertificateError, match=r"no certificate for 10\.0\.0\.9"):
        sign_node(signed, "10.0.0.9")
