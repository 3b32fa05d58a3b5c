"""docs/clients.md, snippet by snippet, as a reader would paste them; only the port is this installation's."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom.supervisor.banner import print_banner
from strongroom.supervisor.home import Home, HomeSettings
from strongroom.supervisor.users import Users
from testkit.clients import node_modules, program_beside_python, run
from testkit.installation import Installation
from testkit.listening import announced, self_signed
from testkit.terraform import Terraform, require_terraform

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
PORT = 4599


@dataclass(frozen=True)
class Snippet:
    section: str
    language: str
    code: str


def _snippets() -> list[Snippet]:
    found = []
    for part in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        section = part.split("\n", 1)[0]
        found += [
            Snippet(section, *block) for block in re.findall(r"^```(\w+)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        ]
    return found


SNIPPETS = _snippets()
ENVIRONMENT, TLS, KEY, *OTHERS = SNIPPETS


def exported(snippet: Snippet) -> dict[str, str]:
    return dict(re.findall(r"\b([A-Z_]+)=(\S+)", snippet.code))


class Reader:
    """Has the document open, a shell in an empty folder, and the environment of the first section."""

    def __init__(self, port: int, folder: Path) -> None:
        self.folder = folder
        self._port = port
        # The `aws` and the `python` of the tests come first, as in an activated virtual environment.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "HOME": str(folder), "PATH": path}
        self.export(ENVIRONMENT)

    def export(self, snippet: Snippet) -> None:
        self.environment.update({name: self.adapt(value) for name, value in exported(snippet).items()})

    def adapt(self, code: str) -> str:
        return code.replace(f":{PORT}", f":{self._port}")

    def write(self, name: str, snippet: Snippet) -> Path:
        file = self.folder / name
        file.write_text(self.adapt(snippet.code), encoding="utf-8")
        return file

    def run(self, *command: str | Path) -> str:
        done = run(*command, environment=self.environment, folder=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, snippet: Snippet) -> str:
        return self.run("bash", "-euo", "pipefail", "-c", self.adapt(snippet.code))


@pytest.fixture
def reader(installation: Installation, kms: Any, tmp_path: Path) -> Reader:
    made = Reader(installation.port, tmp_path)
    try:
        kms.describe_key(KeyId="alias/app")
    except kms.exceptions.NotFoundException:
        made.shell(KEY)
    return made


def run_command_line(reader: Reader, snippet: Snippet) -> None:
    assert reader.shell(snippet) == "s3cret\n"


def run_python(reader: Reader, snippet: Snippet) -> None:
    reader.run(sys.executable, "-c", reader.adapt(snippet.code))


def run_javascript(reader: Reader, snippet: Snippet) -> None:
    (reader.folder / "node_modules").symlink_to(node_modules())
    assert reader.run("node", "--no-warnings", reader.write("snippet.mjs", snippet)) == "s3cret\n"


def run_credstash(reader: Reader, snippet: Snippet) -> None:
    """What follows in the document is `test_credstash.py`."""
    reader.shell(snippet)
    reader.run("aws", "kms", "delete-alias", "--alias-name", "alias/credstash")


def run_play(reader: Reader, snippet: Snippet) -> None:
    program = program_beside_python("ansible-playbook")
    play = reader.write("play.yml", snippet)
    interpreter = f"ansible_python_interpreter={sys.executable}"
    first, second = (reader.run(program, "-i", "localhost,", "-e", interpreter, play) for _ in range(2))
    assert "changed=1" in first
    assert "changed=0" in second


def run_terraform(reader: Reader, snippet: Snippet) -> None:
    program, mirror = require_terraform()
    reader.write("main.tf", snippet)
    environment = reader.environment
    if "endpoints" in snippet.code:
        environment = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    terraform = Terraform(program, mirror, environment, reader.folder)
    terraform("apply", "-auto-approve")
    terraform.require_nothing_to_do()
    terraform("destroy", "-auto-approve")


RUNNERS: dict[tuple[str, str], Callable[[Reader, Snippet], None]] = {
    ("AWS CLI", "sh"): run_command_line,
    ("boto3", "python"): run_python,
    ("AWS Encryption SDK for Python", "python"): run_python,
    ("AWS SDK for JavaScript v3", "javascript"): run_javascript,
    ("Tink", "python"): run_python,
    ("credstash", "sh"): run_credstash,
    ("Ansible", "yaml"): run_play,
    ("Terraform", "hcl"): run_terraform,
}
LONG = {"Ansible", "Terraform"}


@pytest.mark.parametrize(
    "snippet",
    [
        pytest.param(
            snippet,
            id=f"{snippet.section} {number}".replace(" ", "-"),
            marks=[pytest.mark.long] if snippet.section in LONG else [],
        )
        for number, snippet in enumerate(OTHERS)
    ],
)
def test_a_snippet_of_the_document_does_what_it_shows(reader: Reader, snippet: Snippet) -> None:
    RUNNERS[snippet.section, snippet.language](reader, snippet)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Path]]:
    """An installation that speaks TLS only, with the key to try with, and its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = self_signed(folder)
    running = announced(Installation("--tls-cert", str(certificate), "--tls-key", str(key)))
    reader = Reader(running.port, folder)
    reader.export(TLS)
    reader.shell(KEY)
    yield running, certificate
    running.destroy()


def run_over_tls(secure: tuple[Installation, Path], folder: Path, section: str, *, trusted: bool) -> None:
    running, certificate = secure
    snippet = next(snippet for snippet in OTHERS if snippet.section == section)
    reader = Reader(running.port, folder)
    reader.export(TLS)
    if trusted:
        shutil.copy(certificate, folder)
    else:
        del reader.environment["AWS_CA_BUNDLE"], reader.environment["NODE_EXTRA_CA_CERTS"]
    RUNNERS[section, snippet.language](reader, snippet)


OVER_TLS = ["AWS CLI", "boto3", "AWS SDK for JavaScript v3"]


@pytest.mark.parametrize("section", [*OVER_TLS, pytest.param("Terraform", marks=pytest.mark.long)])
def test_a_client_that_trusts_the_certificate_speaks_tls(
    secure: tuple[Installation, Path], tmp_path: Path, section: str
) -> None:
    run_over_tls(secure, tmp_path, section, trusted=True)


# Terraform's provider would try again for many minutes.
@pytest.mark.parametrize("section", OVER_TLS)
def test_a_client_that_does_not_trust_the_certificate_says_so(
    secure: tuple[Installation, Path], tmp_path: Path, section: str
) -> None:
    with pytest.raises(AssertionError, match=r"(?i)certificate"):
        run_over_tls(secure, tmp_path, section, trusted=False)


def without_environment(reader: Reader, section: str) -> str:
    """The expression that a section shows for those who set no variables; from here on none is set."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    (expression,) = re.findall(r"^Without the environment: `(.+)`\.$", text, re.MULTILINE)
    for name in ("AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM"):
        del reader.environment[name]
    return reader.adapt(str(expression))


def test_a_boto3_client_can_be_told_the_address(reader: Reader) -> None:
    expression = without_environment(reader, "boto3")
    reader.run(sys.executable, "-c", f"import boto3; {expression}.describe_key(KeyId='alias/app')")


def test_a_javascript_client_can_be_told_the_address(reader: Reader) -> None:
    expression = without_environment(reader, "AWS SDK for JavaScript v3")
    code = f"""
        import {{ DescribeKeyCommand, KMSClient }} from "@aws-sdk/client-kms";
        await ({expression}).send(new DescribeKeyCommand({{ KeyId: "alias/app" }}));
        console.log("s3cret");
    """
    run_javascript(reader, Snippet("AWS SDK for JavaScript v3", "javascript", code))


def test_every_snippet_has_a_runner_and_every_runner_a_snippet() -> None:
    first = [snippet.section for snippet in (ENVIRONMENT, TLS, KEY)]
    assert first == ["The environment", "Over TLS", "A key to try with"]
    assert {(snippet.section, snippet.language) for snippet in OTHERS} == set(RUNNERS)


def test_the_environment_is_the_one_that_a_start_prints(capsys: pytest.CaptureFixture[str]) -> None:
    settings = HomeSettings(format=1, account="000000000000", region="us-east-1", development=True)
    print_banner(Home(Path("home")), settings, f"http://127.0.0.1:{PORT}", Users(1, 1, ""))
    printed = [line.strip() for line in capsys.readouterr().out.splitlines() if "export" in line]
    assert printed == ENVIRONMENT.code.splitlines()


def test_the_key_to_try_with_rotates_yearly(reader: Reader, kms: Any) -> None:
    key_id = kms.describe_key(KeyId="alias/app")["KeyMetadata"]["KeyId"]
    assert kms.get_key_rotation_status(KeyId=key_id)["RotationPeriodInDays"] == 365


def test_a_snippet_that_is_wrong_is_caught(reader: Reader) -> None:
    for code in ('kms.describe_key(KeyId="alias/nobody")', "assert kms.list_keys()['Truncated'] is None"):
        wrong = Snippet("boto3", "python", f'import boto3\nkms = boto3.client("kms")\n{code}\n')
        with pytest.raises(AssertionError):
            run_python(reader, wrong)
    with pytest.raises(AssertionError):
        run_command_line(reader, Snippet("AWS CLI", "sh", "aws kms no-such-command | cat\n"))
