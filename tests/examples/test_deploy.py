"""The files of examples/deploy name only what exists: options, files, services, ports."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from streamtag.protocol.messages import Hello
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.conftest import Need
from tests.sinks.mosquitto import PROGRAM, Broker, free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
HELLO = Hello("streamtag 0", "small", ("guitar",), 16000, 0.256, 0.512, 0.384, (0.5,))
MAX_EXPOSURE = 20  # of `systemd-analyze security`, in tenths; 100 is a service without any limits


def unit_lines() -> list[str]:
    text = (DEPLOY / "streamtag.service").read_text("utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def container() -> list[tuple[str, str]]:
    """The instructions of the Containerfile with their arguments, in order."""
    lines = (DEPLOY / "Containerfile").read_text("utf-8").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")]


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return read


def commands() -> dict[str, list[str]]:
    (start,) = [line.removeprefix("ExecStart=") for line in unit_lines() if line.startswith("ExecStart=")]
    image = dict(container())
    assert json.loads(image["ENTRYPOINT"]) == ["/opt/streamtag/bin/streamtag"]
    return {
        "unit": shlex.split(start)[1:],
        "image": json.loads(image["CMD"]),
        "compose": compose()["services"]["streamtag"]["command"],
    }


def parse(arguments: list[str]) -> dict[str, Any]:
    """Return the values of the options as the command itself reads them. Raises what is wrong with them."""
    name, *rest = arguments
    command = typer.main.get_command(getattr(import_module(f"streamtag.cli.{name}"), name))
    values: dict[str, Any] = command.make_context(f"streamtag {name}", rest).params
    return values


@pytest.mark.parametrize("place", ["unit", "image", "compose"])
def test_the_options_exist(place: str) -> None:
    values = parse(commands()[place])
    assert str(values.get("serve") or values.get("where")).endswith("8765")


def test_the_image_runs_as_another_user_than_root_and_installs_the_torch_of_the_project() -> None:
    instructions = container()
    assert dict(instructions)["USER"] == "10001"
    assert any("useradd" in rest and "10001" in rest for word, rest in instructions if word == "RUN")
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (torch,) = [each for each in dependencies if each.startswith("torch")]
    assert any(f'"{torch}"' in rest for word, rest in instructions if word == "RUN")
    copied = [rest.split()[:-1] for word, rest in instructions if word == "COPY" and "--from" not in rest]
    assert all((ROOT / name).exists() for names in copied for name in names)


def test_the_health_check_tells_a_server_from_none() -> None:
    check = json.loads(dict(container())["HEALTHCHECK"].partition("CMD ")[2])

    def run(port: int) -> int:
        program = [sys.executable, *(word.replace("8765", str(port)) for word in check[1:])]
        return subprocess.run(program, capture_output=True, timeout=30).returncode

    with ServerThread(ServerConfig(port=0, token="secret"), HELLO) as server:
        assert run(int(server.address.rstrip("/").rpartition(":")[2])) == 0
    assert run(free_port()) != 0


def test_the_services_find_each_other_and_their_files() -> None:
    project = compose()
    services = project["services"]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            made_by_hand = source == "./passwords"
            assert source in project["volumes"] or made_by_hand or (DEPLOY / source).is_file(), volume
        assert set(service.get("depends_on", [])) <= set(services)
        assert set(service.get("secrets", [])) <= set(project["secrets"])
    streamtag = services["streamtag"]
    build = streamtag["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DEPLOY / "Containerfile"
    assert set(build["args"]) == {rest.partition("=")[0] for word, rest in container() if word == "ARG"}
    values = parse(streamtag["command"])
    assert re.search(r"@(\w+)/", values["mqtt"])[1] in services  # type: ignore[index]
    metrics = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    (job,) = metrics["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{streamtag['hostname']}:{values['serve'].rpartition(':')[2]}"]
    (secret,) = services["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"


def test_mosquitto_accepts_its_configuration(need: Need, tmp_path: Path) -> None:
    need("mosquitto", PROGRAM is not None, "machine has no mosquitto")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "streamtag", "secret"], check=True, timeout=30)
    broker = Broker(tmp_path)
    text = (DEPLOY / "mosquitto.conf").read_text("utf-8")
    for old, new in (
        ("listener 1883", f"listener {broker.port} 127.0.0.1"),
        ("/mosquitto/config/passwords", str(passwords)),
        ("/mosquitto/data/", f"{tmp_path}/"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    broker.start_with(f"user {getpass.getuser()}\n{text}")
    broker.stop()


def test_systemd_accepts_the_unit_and_finds_it_confined(need: Need, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    need("systemd", analyze is not None, "machine has no systemd")
    unit = tmp_path / "streamtag.service"
    unit.write_text((DEPLOY / unit.name).read_text("utf-8").replace("/opt/streamtag/bin/streamtag", sys.executable))
    for arguments in (["verify"], ["security", "--offline=true", f"--threshold={MAX_EXPOSURE}"]):
        done = subprocess.run([str(analyze), *arguments, unit], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert arguments != ["verify"] or done.stderr == ""
