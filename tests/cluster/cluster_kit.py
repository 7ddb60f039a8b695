"""The cluster under test: a head, two nodes, PostgreSQL and a bucket behind a proxy."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from faulty_proxy import Proxy, Request
from machine import Machine, answers, bare_environment, here, wait_for
from pipeline_kit import write_config
from postgres import start_postgres
from webserver_process import Webserver

from demo.tiny import build_tiny_dataset

REPOSITORY = Path(__file__).resolve().parents[2]
CATEGORIES = ("fabric_a", "fabric_b")
TINY = {"train": 4, "test_good": 2}
BUCKET = "factory"
POOL = "cpu_heavy"
HEAD_ADDRESS = "127.0.0.1"
_DASHBOARD, _GCS, _CODE, _WEB = 8265, 6379, 4266, 3000
# As in deploy/cluster/dagster.yaml, but the waits that would only make the tests longer.
_SOON = {"poll_interval_seconds": 2, "cancel_timeout_seconds": 60}


@dataclass
class Hold:
    """The first request of a method whose path has all parts is held until the proxy lets go."""

    method: str
    parts: Sequence[str]
    seen: Request | None = None

    def fits(self, request: Request) -> bool:
        """Tell whether this is the request to hold; only the first is."""
        if self.seen or request.method != self.method:
            return False
        if not all(part in request.path for part in self.parts):
            return False
        self.seen = request
        return True


class Cluster:
    """A cluster at work; `stack` ends what it has started."""

    def __init__(
        self,
        root: Path,
        moto: str,
        stack: ExitStack,
        *,
        proxy: Proxy | None = None,
        nodes: int = 2,
        categories: Sequence[str] = CATEGORIES,
        images: Mapping[str, int] = TINY,
        processors: bool = False,
        **sections: Any,
    ) -> None:
        self.root, self.proxy = root, proxy
        self.categories = categories
        self.endpoint = moto if proxy is None else proxy.url
        self.password = secrets.token_hex(12)
        self.token = secrets.token_hex(32)
        self.images = root / "images"
        build_tiny_dataset(self.images, categories=categories, **images)
        self._sections = sections
        self._has_own_processors = processors
        self._bucket: Any = boto3.client("s3", endpoint_url=moto)
        self._bucket.create_bucket(Bucket=BUCKET)
        self.hosts = ["head", *(f"node-{number + 1}" for number in range(nodes))]
        self.machines = {host: self._machine(host) for host in self.hosts}
        self.head = self.machines["head"]
        self.home = self.head.folder / "dagster_home"
        for machine in self.machines.values():
            stack.callback(machine.kill)
        shared = self.configuration(root / "benchmark.yaml")
        self._bucket.upload_file(str(shared), BUCKET, "benchmark.yaml")
        self.webserver = Webserver(f"http://127.0.0.1:{_WEB}")

    def start(self) -> None:
        """Start everything; the nodes while the head's services load the benchmark."""
        start_postgres(self.head, self.root / "postgres", self.password)
        self.head.start(
            "ray",
            *(here("ray"), "start", "--head", "--block", f"--node-ip-address={HEAD_ADDRESS}"),
            *(f"--port={_GCS}", f"--dashboard-port={_DASHBOARD}", "--num-cpus=0"),
            *self._ray_options(self.head, 52365),
        )
        self._start_dagster()
        wait_for("Ray's head", lambda: answers(_GCS))
        for host in self.hosts[1:]:
            self.start_node(host)
        wait_for("Ray's dashboard", lambda: answers(_DASHBOARD))
        wait_for("the webserver", lambda: answers(_WEB))

    def start_node(self, host: str) -> None:
        """Start a node of one processor."""
        machine, number = self.machines[host], int(host.removeprefix("node-"))
        own = ("taskset", "--cpu-list", str((number - 1) % (os.cpu_count() or 1)))
        machine.start(
            "ray",
            *(own if self._has_own_processors else ()),
            *(here("ray"), "start", "--block", f"--address={HEAD_ADDRESS}:{_GCS}"),
            *(f"--node-ip-address=127.0.0.{number + 1}", "--num-cpus=1"),
            f"--resources={json.dumps({host: 1})}",
            *self._ray_options(machine, 52365 + number),
        )

    def hold(self, *held: Hold) -> None:
        """Hold requests to the bucket; see `let_go`."""
        assert self.proxy is not None
        self.proxy.let_go.clear()
        self.proxy.fault_of = lambda _, request: (
            "hold" if any(one.fits(request) for one in held) else None
        )

    def let_go(self) -> None:
        """Close the connection of what is held, so that it is asked again; hold nothing more."""
        assert self.proxy is not None
        self.proxy.fault_of = None
        self.proxy.let_go.set()

    def sidecar(self, place: str) -> dict[str, str]:
        """Return the provenance of what is the current version at a place, such as `asset/c`."""
        key = f"artefacts/{place}/artefact.json"
        content = self._bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        provenance: dict[str, str] = json.loads(content)["provenance"]
        return provenance

    def configuration(self, file: Path, **sections: Any) -> Path:
        """Write a configuration of this cluster."""
        return write_config(
            file,
            self.images,
            **{
                "storage": {"root": f"s3://{BUCKET}/artefacts"},
                "schedule": {"cron": "* * * * *", "seconds_between_looks": 1},
                **self._sections,
                **sections,
                "dataset": {
                    "categories": list(self.categories),
                    **self._sections.get("dataset", {}),
                },
            },
        )

    def _start_dagster(self) -> None:
        workspace = {
            "load_from": [
                {
                    "grpc_server": {
                        "host": "127.0.0.1",
                        "port": _CODE,
                        "location_name": "patchcore_assets",
                    }
                }
            ]
        }
        instance = yaml.safe_load((REPOSITORY / "deploy/cluster/dagster.yaml").read_text("utf-8"))
        instance["run_monitoring"].update(_SOON)
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(instance), "utf-8")
        (self.home / "workspace.yaml").write_text(yaml.safe_dump(workspace), "utf-8")
        at = ("-h", "127.0.0.1", "-p")
        self.head.start(
            "code", here("dagster"), "api", "grpc", "-m", "patchcore_assets", *at, str(_CODE)
        )
        wait_for("the code location", lambda: answers(_CODE))
        file = ("-w", str(self.home / "workspace.yaml"))
        self.head.start("webserver", here("dagster-webserver"), *file, *at, str(_WEB))
        self.head.start("daemon", here("dagster-daemon"), "run", *file)

    def _ray_options(self, machine: Machine, agent_port: int) -> Sequence[str]:
        return (
            f"--temp-dir={machine.folder / 'r'}",
            f"--dashboard-agent-listen-port={agent_port}",
            "--object-store-memory=80000000",
            "--disable-usage-stats",
        )

    def _machine(self, host: str) -> Machine:
        folder = self.root / host
        folder.mkdir()
        (folder / "token").write_text(self.token, "utf-8")
        others = [self.root / other for other in self.hosts if other != host]
        environment = {
            **bare_environment(folder, REPOSITORY),
            **self.secrets,
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": "5432",
            "DAGSTER_POSTGRES_DB": "postgres",
            "DAGSTER_POSTGRES_USER": "dagster",
            "DAGSTER_COMPUTE_LOGS_BUCKET": BUCKET,
            "DAGSTER_LOCAL_DIR": str(folder / "local"),
            "PATCHCORE_CONFIG": f"s3://{BUCKET}/benchmark.yaml",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.endpoint,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_JOB_STOP_WAIT_TIME_S": "30",
            # Sooner than by default; nothing else changes.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_initial_delay_ms": "500",
        }
        if host == "head":
            environment |= {
                "DAGSTER_HOME": str(folder / "dagster_home"),
                "RAY_DASHBOARD_URL": f"http://127.0.0.1:{_DASHBOARD}",
            }
        return Machine(host, folder, self.images, others, environment)

    @property
    def secrets(self) -> Mapping[str, str]:
        """What nobody may learn from Ray's list of jobs."""
        return {
            "DAGSTER_POSTGRES_PASSWORD": self.password,
            "AWS_ACCESS_KEY_ID": "access-key-of-the-bucket",
            "AWS_SECRET_ACCESS_KEY": "secret-key-of-the-bucket",
        }
