"""docker-py as a client of a cluster: swarm, nodes, services, tasks, secrets, configs."""

import os
import time

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import (
    ConfigReference,
    EndpointSpec,
    Healthcheck,
    Resources,
    RestartPolicy,
    RollbackConfig,
    SecretReference,
    ServiceMode,
    UpdateConfig,
)


def until(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def client():
    client = docker.from_env(timeout=60)
    with open(os.environ["ROOTFS"], "rb") as rootfs:
        client.api.import_image_from_data(rootfs.read(), repository="busybox", tag="latest", changes=["CMD [\"sh\"]"])
    client.images.get("busybox").tag("busybox", "two")
    with pytest.raises(APIError) as refused:
        client.services.list()
    assert refused.value.status_code == 503
    assert "This node is not a swarm manager" in refused.value.explanation
    node = client.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377", task_history_retention_limit=3)
    until(lambda: client.nodes.get(node).attrs["Status"]["State"] == "ready")
    assert client.nodes.get(node).attrs["ManagerStatus"]["Leader"] is True
    yield client
    for service in client.services.list():
        service.remove()
    until(lambda: not client.containers.list(all=True, sparse=True))
    with pytest.raises(APIError) as refused:
        client.swarm.leave()
    assert refused.value.status_code == 503
    assert client.swarm.leave(force=True) is True
    client.close()


def running(service):
    return [task for task in service.tasks({"desired-state": "running"}) if task["Status"]["State"] == "running"]


@pytest.fixture
def service(client):
    service = client.services.create(
        "busybox",
        command=["sleep", "1000"],
        name="web",
        labels={"tier": "front"},
        container_labels={"in": "side"},
        env=["A=1"],
        stop_grace_period=1_000_000_000,
        mode=ServiceMode("replicated", 2),
        update_config=UpdateConfig(parallelism=0, monitor=500_000_000),
        rollback_config=RollbackConfig(parallelism=0, monitor=500_000_000),
    )
    until(lambda: len(running(service)) == 2)
    yield service
    try:
        service.remove()
    except NotFound:
        pass
    until(lambda: not client.containers.list(all=True, sparse=True))


def test_swarm_attributes_update_and_tokens(client):
    client.swarm.reload()
    attrs = client.swarm.attrs
    assert attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"] == 3
    tokens = dict(attrs["JoinTokens"])
    assert tokens["Worker"].startswith("SWMTKN-1-") and tokens["Worker"] != tokens["Manager"]
    client.swarm.update(rotate_worker_token=True, task_history_retention_limit=4)
    client.swarm.reload()
    after = client.swarm.attrs["JoinTokens"]
    assert after["Worker"] != tokens["Worker"] and after["Manager"] == tokens["Manager"]
    assert client.swarm.attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"] == 4
    with pytest.raises(APIError) as refused:
        client.swarm.init(advertise_addr="127.0.0.1")
    assert refused.value.status_code == 503
    assert client.info()["Swarm"]["LocalNodeState"] == "active"
    assert client.swarm.get_unlock_key()["UnlockKey"] in ("", None)


def test_nodes(client):
    (node,) = client.nodes.list(filters={"role": "manager"})
    assert node.attrs["Status"]["State"] == "ready"
    spec = dict(node.attrs["Spec"], Labels={"disk": "ssd"})
    assert node.update(spec) is True
    node.reload()
    assert node.attrs["Spec"]["Labels"] == {"disk": "ssd"}
    assert client.nodes.list(filters={"node.label": "disk=ssd"})[0].id == node.id
    with pytest.raises(APIError) as stale:
        client.api.update_node(node.id, 1, spec)
    assert "update out of sequence" in stale.value.explanation
    with pytest.raises(NotFound):
        client.nodes.get("nothere")
    with pytest.raises(APIError) as refused:
        client.api.remove_node(node.id)
    assert "is a cluster manager and is a member of the raft cluster" in refused.value.explanation


def test_service_attributes(client, service):
    assert client.services.get("web").id == service.id
    assert service.name == "web"
    assert service.attrs["Spec"]["Labels"] == {"tier": "front"}
    assert [one.id for one in client.services.list(filters={"label": "tier=front"})] == [service.id]
    assert client.services.list(filters={"name": "nothere"}) == []
    (status,) = [one.attrs["ServiceStatus"] for one in client.services.list(status=True)]
    assert (status["RunningTasks"], status["DesiredTasks"]) == (2, 2)
    task = running(service)[0]
    inspected = client.api.inspect_task(task["ID"])
    assert inspected["ServiceID"] == service.id
    container = client.containers.get(task["Status"]["ContainerStatus"]["ContainerID"])
    assert container.labels["in"] == "side"
    assert container.labels["com.docker.swarm.service.name"] == "web"
    assert container.name == f"web.{task['Slot']}.{task['ID']}"


def test_service_scale_update_rollback_force(client, service):
    service.reload()
    assert service.scale(3) is not None
    until(lambda: len(running(service)) == 3)
    before = {task["ID"] for task in running(service)}
    service.reload()
    service.update(image="busybox:two")
    until(lambda: service.reload() or service.attrs.get("UpdateStatus", {}).get("State") == "completed")
    assert len(running(service)) == 3
    assert {task["Spec"]["ContainerSpec"]["Image"] for task in running(service)} == {"busybox:two"}
    assert not before & {task["ID"] for task in running(service)}
    # What is not named stays.
    assert service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=1"]
    assert service.attrs["Spec"]["Mode"]["Replicated"]["Replicas"] == 3
    forced = {task["ID"] for task in running(service)}
    service.force_update()
    until(lambda: service.reload() or not forced & {task["ID"] for task in running(service)})


def test_service_errors(client, service):
    with pytest.raises(NotFound):
        client.services.get("nothere")
    with pytest.raises(APIError) as conflict:
        client.services.create("busybox", name="web")
    assert conflict.value.status_code == 409
    with pytest.raises(APIError) as invalid:
        client.services.create("busybox", name="not a name")
    assert invalid.value.status_code == 400
    with pytest.raises(APIError) as stale:
        client.api.update_service(service.id, 1, name="web", task_template=service.attrs["Spec"]["TaskTemplate"])
    assert "update out of sequence" in stale.value.explanation


def test_global_service_with_resources_and_placement(client):
    service = client.services.create(
        "busybox",
        ["sleep", "1000"],
        name="all",
        mode=ServiceMode("global"),
        resources=Resources(mem_limit=32 << 20, cpu_limit=500_000_000),
        restart_policy=RestartPolicy("any", delay=100_000_000),
        constraints=["node.role==manager"],
        preferences=[("spread", "node.labels.disk")],
        healthcheck=Healthcheck(test=["CMD", "true"], interval=1_000_000_000),
        endpoint_spec=EndpointSpec(ports={18080: (80, "tcp", "host")}),
        hostname="{{.Service.Name}}",
        stop_grace_period=1_000_000_000,
        user="nobody",
        workdir="/tmp",
    )
    (task,) = until(lambda: running(service))
    container = client.containers.get(task["Status"]["ContainerStatus"]["ContainerID"])
    assert container.exec_run(["sh", "-c", "hostname; id -un; pwd"]).output == b"all\nnobody\n/tmp\n"
    assert container.attrs["HostConfig"]["Memory"] == 32 << 20
    assert task["Status"]["PortStatus"]["Ports"][0]["PublishedPort"] == 18080
    placement = service.attrs["Spec"]["TaskTemplate"]["Placement"]
    assert placement["Constraints"] == ["node.role==manager"]
    service.remove()


def test_jobs(client):
    job = client.services.create("busybox", ["true"], name="job", mode=ServiceMode("replicated-job", 3, 3),
                                 restart_policy=RestartPolicy("none"))
    until(lambda: [task["Status"]["State"] for task in job.tasks()] == ["complete"] * 3)
    assert sorted(task.get("Slot", 0) for task in job.tasks()) == [0, 1, 2]
    job.remove()


def test_secrets_and_configs(client):
    secret = client.secrets.create(name="key", data=b"geheim", labels={"a": "b"})
    config = client.configs.create(name="conf", data=b"clear", labels={"c": "d"})
    assert client.secrets.list(filters={"name": "key"})[0].id == secret.id
    secret.reload()
    assert secret.attrs["Spec"]["Labels"] == {"a": "b"}
    assert "Data" not in secret.attrs["Spec"]
    assert client.configs.get(config.id).attrs["Spec"]["Data"] == "Y2xlYXI="
    service = client.services.create(
        "busybox",
        ["sleep", "1000"],
        name="reader",
        stop_grace_period=1_000_000_000,
        secrets=[SecretReference(secret.id, "key", filename="word", mode=0o400)],
        configs=[ConfigReference(config.id, "conf", filename="/etc/conf", uid="33")],
    )
    (task,) = until(lambda: running(service))
    container = client.containers.get(task["Status"]["ContainerStatus"]["ContainerID"])
    assert container.exec_run(["cat", "/run/secrets/word", "/etc/conf"]).output == b"geheimclear"
    assert container.exec_run(["stat", "-c", "%a %u", "/run/secrets/word", "/etc/conf"]).output == b"400 0\n444 33\n"
    for used in (secret, config):
        with pytest.raises(APIError) as refused:
            used.remove()
        assert refused.value.status_code == 400
        assert "is in use by the following service: reader" in refused.value.explanation
    service.remove()
    until(lambda: not client.containers.list(all=True, sparse=True))
    assert secret.remove() and config.remove()
    with pytest.raises(NotFound):
        client.secrets.get(secret.id)
    with pytest.raises(APIError) as twice:
        client.secrets.create(name="twice", data=b"1")
        client.secrets.create(name="twice", data=b"2")
    assert twice.value.status_code == 409
    client.secrets.get("twice").remove()



def test_events(client):
    since = int(time.time()) - 1
    client.configs.create(name="told", data=b"1").remove()
    told = client.events(since=since, until=int(time.time()) + 1, filters={"type": "config"}, decode=True)
    seen = [(event["Action"], event["Actor"]["Attributes"]["name"]) for event in told]
    assert [("create", "told"), ("remove", "told")] == [one for one in seen if one[1] == "told"]
