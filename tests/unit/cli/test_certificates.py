"""Files that a configuration names: all that is wrong with them, at their keys."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import trustme

from lbproto_cli.certificates import check_files, expired, exposed
from lbproto_cli.load import Loaded, parse
from lbproto_runtimes.contexts import Contexts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates with their keys, an authority, and files that are of no use."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    for name in ("a", "b"):
        issued = authority.issue_cert(f"{name}.example")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(folder / f"{name}.pem", append=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "text.pem").write_text("no certificate")
    (folder / "odd \u00e9.pem").write_text("")
    return folder


def loaded(folder: Path, tls: str, upstream: str = "null") -> Loaded:
    text = (
        f"services:\n- listen:\n  - '*:80'\n  - address: '*:443'\n    tls: {tls}\n"
        f"  upstream: web\nupstreams:\n  web: {{backends: [h:1], tls: {upstream}}}\n"
    )
    return parse(text.encode(), "conf.yaml", ("asyncio",), str(folder))


def problems(folder: Path, tls: str, upstream: str = "null") -> list[str]:
    found = check_files(loaded(folder, tls, upstream), Contexts())
    return [str(problem).replace(f"{folder}/", "") for problem in found]


def test_files_of_use_are_no_problem_and_are_read_once(files: Path) -> None:
    tls = "{certificates: [{cert: a.pem, key: a.key}, {cert: b.pem, key: b.key}],"
    tls += " client_ca: ca.pem, client_auth: require}"
    upstream = "{ca_file: ca.pem, certificate: {cert: b.pem, key: b.key}}"
    got, contexts = loaded(files, tls, upstream), Contexts()
    assert check_files(got, contexts) == []
    record = got.config.services[0].listen[1].tls
    assert record is not None
    assert contexts.server(record) is contexts.server(record)


def test_without_tls_there_is_nothing_to_check(files: Path) -> None:
    assert problems(files, "null") == []


def test_a_file_that_is_missing_is_a_problem_at_its_key(files: Path) -> None:
    (line,) = problems(files, "{certificates: [{cert: a.pem, key: none.key}]}")
    assert line.startswith(
        "conf.yaml:5:45: services[0].listen[1].tls.certificates[0].key: cannot use"
        " none.key: "
    )
    (line,) = problems(files, "{certificates: [{cert: none.pem, key: a.key}]}")
    assert line.startswith(
        "conf.yaml:5:33: services[0].listen[1].tls.certificates[0].cert: cannot use"
        " none.pem: "
    )


def test_all_files_that_are_of_no_use_are_named_at_once(files: Path) -> None:
    tls = "{certificates: [{cert: a.pem, key: a.key}, {cert: text.pem, key: a.key},"
    tls += " {cert: b.pem, key: none.key}], client_ca: none.ca, client_auth: optional}"
    upstream = "{ca_file: text.pem, certificate: {cert: none.pem, key: b.key}}"
    found = problems(files, tls, upstream)
    keys = [line.split(": ")[1] for line in found]
    assert keys == [
        "services[0].listen[1].tls.certificates[1].cert",
        "services[0].listen[1].tls.certificates[2].key",
        "services[0].listen[1].tls.client_ca",
        "upstreams.web.tls.certificate.cert",
        "upstreams.web.tls.ca_file",
    ]
    assert all(re.search(r": cannot use [^ ]+: .", line) for line in found)


def test_a_key_of_another_certificate_is_a_problem(files: Path) -> None:
    (line,) = problems(files, "{certificates: [{cert: a.pem, key: b.key}]}")
    assert ": services[0].listen[1].tls.certificates[0]." in line


def test_a_mapping_in_a_service_is_checked_where_it_stands(files: Path) -> None:
    text = (
        "services:\n- listen: ['*:80']\n"
        "  upstream: {backends: [h:1], tls: {ca_file: none.pem}}\n"
    )
    got = parse(text.encode(), "conf.yaml", ("asyncio",), str(files))
    (problem,) = check_files(got, Contexts())
    expected = "conf.yaml:3:46: services[0].upstream.tls.ca_file: cannot use "
    assert str(problem).startswith(expected)


def test_authorities_that_nobody_uses_yet_are_checked_too(files: Path) -> None:
    assert problems(files, "null", "{verify: false, ca_file: ca.pem}") == []
    (line,) = problems(files, "null", "{verify: false, ca_file: none.pem}")
    assert ": upstreams.web.tls.ca_file: cannot use none.pem: " in line


def test_certificates_that_have_expired_are_named_once(
    files: Path, tmp_path: Path
) -> None:
    end = datetime(2020, 1, 2, tzinfo=UTC)
    issued = trustme.CA().issue_cert("a.example", not_after=end)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "old.pem")
    old = f"{{cert: {tmp_path}/old.pem, key: {tmp_path}/old.pem}}"
    tls = f"{{certificates: [{{cert: a.pem, key: a.key}}, {old}, {old}]}}"
    got, contexts = loaded(files, tls), Contexts()
    assert check_files(got, contexts) == []
    at = end.timestamp()
    found = list(expired(got.config, contexts, at + 1))
    assert [(it.cert, when) for it, when in found] == [(f"{tmp_path}/old.pem", at)]
    assert list(expired(got.config, contexts, at)) == []


@pytest.mark.parametrize(
    ("mode", "found"),
    [(0o600, False), (0o640, False), (0o660, True), (0o644, True), (0o602, True)],
)
def test_keys_that_others_may_use_are_named_once(
    mode: int, found: bool, tmp_path: Path
) -> None:
    key = tmp_path / "a.key"
    key.touch()
    key.chmod(mode)
    pair = "{cert: a.pem, key: a.key}"
    tls = f"{{certificates: [{pair}, {pair}]}}"
    got = loaded(tmp_path, tls, f"{{certificate: {pair}}}")
    assert list(exposed(got.config)) == ([(str(key), mode)] if found else [])
    key.unlink()
    assert list(exposed(got.config)) == []


def test_a_problem_is_one_printable_line(files: Path) -> None:
    name = "odd \u00e9.pem"
    (line,) = problems(files, f"{{certificates: [{{cert: {name}, key: a.key}}]}}")
    assert line.isascii()
    assert line.isprintable()
    assert r'odd \u00e9.pem": ' in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_problem(tmp_path: Path, files: Path) -> None:
    (tmp_path / "a.key").touch(mode=0)
    certificate = f"{{cert: {files}/a.pem, key: a.key}}"
    (line,) = problems(tmp_path, f"{{certificates: [{certificate}]}}")
    assert "Permission denied" in line
