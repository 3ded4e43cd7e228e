"""docker-py as a client: containers, images, volumes, exec, events, stats, streams."""

import io
import os
import tarfile
import threading

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound


@pytest.fixture(scope="session")
def client():
    client = docker.from_env(timeout=60)
    low = client.api
    with open(os.environ["ROOTFS"], "rb") as rootfs:
        low.import_image_from_data(rootfs.read(), repository="busybox", tag="latest", changes=["CMD [\"sh\"]"])
    yield client
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    client.close()


@pytest.fixture
def sleeper(client):
    container = client.containers.run("busybox", "sleep 300", detach=True)
    yield container
    container.remove(force=True)


def test_version_and_info(client):
    assert client.ping() is True
    assert client.version()["ApiVersion"] == "1.55"
    assert client.info()["OSType"] == "linux"


def test_run_returns_output(client):
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"


def test_run_raises_on_failure(client):
    with pytest.raises(ContainerError) as failure:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert failure.value.exit_status == 3
    assert failure.value.stderr == b"bad\n"


def test_missing_image(client):
    with pytest.raises(ImageNotFound):
        client.images.get("nothere:never")


def test_missing_container(client):
    with pytest.raises(NotFound):
        client.containers.get("nothere")


def test_lifecycle(client):
    container = client.containers.create("busybox", "sleep 300", name="life", labels={"a": "b"})
    assert container.status == "created"
    container.start()
    container.reload()
    assert container.status == "running"
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("alive")
    assert client.containers.get("alive").id == container.id
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.restart(timeout=0)
    container.kill()
    container.wait()
    container.remove()
    with pytest.raises(NotFound):
        client.containers.get(container.id)


def test_name_conflict(client):
    first = client.containers.create("busybox", name="taken")
    try:
        with pytest.raises(APIError) as failure:
            client.containers.create("busybox", name="taken")
        assert failure.value.status_code == 409
    finally:
        first.remove()


def test_list_filters(client, sleeper):
    ids = [c.id for c in client.containers.list(filters={"status": "running", "ancestor": "busybox"})]
    assert sleeper.id in ids
    assert client.containers.list(filters={"label": "none=such"}) == []


def test_exec(sleeper):
    assert sleeper.exec_run("echo in").output == b"in\n"
    assert sleeper.exec_run("sh -c 'exit 4'").exit_code == 4
    out, err = sleeper.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output
    assert (out, err) == (b"o\n", b"e\n")
    assert b"".join(sleeper.exec_run("seq 3", stream=True).output) == b"1\n2\n3\n"
    assert sleeper.exec_run("id -un", user="nobody", environment={"A": "b"}).output == b"nobody\n"


def test_exec_socket(client, sleeper):
    exec_id = client.api.exec_create(sleeper.id, "cat", stdin=True)["Id"]
    socket = client.api.exec_start(exec_id, socket=True)
    raw = socket._sock
    raw.sendall(b"ping\n")
    raw.shutdown(1)
    data = b""
    while chunk := raw.recv(4096):
        data += chunk
    assert data == b"\x01\0\0\0\0\0\0\x05ping\n"
    assert client.api.exec_inspect(exec_id)["ExitCode"] == 0


def test_logs(client):
    container = client.containers.run("busybox", ["sh", "-c", "echo a; echo b; echo c >&2"], detach=True)
    container.wait()
    assert container.logs(stderr=False) == b"a\nb\n"
    assert container.logs(stdout=False) == b"c\n"
    # As in dockerd, the last lines of both streams are taken, then those of streams not asked for are left out.
    # (Which stream's line the daemon saw last is not fixed: two pipes.)
    assert container.logs(tail=1, stdout=False) + container.logs(tail=1, stderr=False) in (b"c\n", b"b\n")
    assert container.logs(tail=3, stderr=False) == b"a\nb\n"
    assert container.logs(tail=0) == b""
    assert b"".join(container.logs(stream=True, follow=True, stderr=False)) == b"a\nb\n"
    container.remove()
    # On a container that writes to one stream only, the tail is of that stream.
    container = client.containers.run("busybox", ["sh", "-c", "echo a; echo b; echo c"], detach=True)
    container.wait()
    assert container.logs(tail=1) == b"c\n"
    assert container.logs(tail=1, stderr=False) == b"c\n"
    assert container.logs(tail=2, stderr=False) == b"b\nc\n"
    assert container.logs(tail=1, stdout=False) == b""
    container.remove()


def test_attach_before_start(client):
    container = client.containers.create("busybox", "echo attached")
    stream = container.attach(stream=True, logs=False)
    container.start()
    assert b"".join(stream) == b"attached\n"
    container.wait()
    container.remove()


def test_archive(sleeper):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    assert sleeper.put_archive("/tmp", data.getvalue())
    stream, stat = sleeper.get_archive("/tmp/hello")
    assert stat["name"] == "hello" and stat["size"] == 3
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        assert archive.extractfile("hello").read() == b"abc"


def test_stats(sleeper):
    once = sleeper.stats(stream=False)
    assert once["memory_stats"]["usage"] > 0
    assert once["cpu_stats"]["system_cpu_usage"] > 0
    assert once["pids_stats"]["current"] == 1
    first = next(sleeper.stats(stream=True, decode=True))
    assert first["id"] == sleeper.id


def test_top_and_diff(sleeper):
    assert "sleep 300" in sleeper.top()["Processes"][0][-1]
    sleeper.exec_run("touch /new")
    assert {"Path": "/new", "Kind": 1} in sleeper.diff()


def test_update(sleeper):
    sleeper.update(mem_limit="64m", memswap_limit="64m")
    sleeper.reload()
    assert sleeper.attrs["HostConfig"]["Memory"] == 64 << 20


def test_commit_save_load_remove(client, sleeper):
    sleeper.exec_run("touch /committed")
    image = sleeper.commit("committed", "1")
    assert client.containers.run("committed:1", "ls /committed", remove=True) == b"/committed\n"
    archive = b"".join(image.save(named=True))
    client.images.remove("committed:1")
    with pytest.raises(ImageNotFound):
        client.images.get("committed:1")
    loaded = client.images.load(archive)
    assert loaded[0].id == image.id
    assert image.history()[0]["Id"] == image.id
    assert loaded[0].tag("other", "2")
    client.images.remove("other:2")
    client.images.remove("committed:1")


def test_volumes(client):
    volume = client.volumes.create("pyvol", labels={"k": "v"})
    client.containers.run("busybox", "touch /v/file", volumes={"pyvol": {"bind": "/v", "mode": "rw"}}, remove=True)
    assert client.containers.run("busybox", "ls /v", volumes=["pyvol:/v:ro"], remove=True) == b"file\n"
    assert [v.name for v in client.volumes.list(filters={"label": "k=v"})] == ["pyvol"]
    volume.remove()
    with pytest.raises(NotFound):
        client.volumes.get("pyvol")


def test_events(client):
    seen = []
    events = client.events(decode=True, filters={"type": "container", "event": ["create", "start", "die", "destroy"]})

    def collect():
        for event in events:
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                return

    thread = threading.Thread(target=collect)
    thread.start()
    client.containers.run("busybox", "true", name="watched", remove=True)
    thread.join(20)
    events.close()
    assert seen == ["create", "start", "die", "destroy"]


def test_wait_conditions(client):
    container = client.containers.create("busybox", "sh -c 'exit 2'")
    result = []
    thread = threading.Thread(target=lambda: result.append(container.wait(condition="next-exit")))
    thread.start()
    while not thread.is_alive():
        pass
    container.start()
    thread.join(20)
    if not result:
        result.append(container.wait())
    assert result[0]["StatusCode"] == 2
    container.remove()


def test_prune(client):
    client.containers.create("busybox", labels={"prune": "me"})
    report = client.containers.prune(filters={"label": "prune=me"})
    assert len(report["ContainersDeleted"]) == 1


def test_df(client, sleeper):
    # Since version 1.52 the answer has sums. As dockerd does for clients that ask for the newest version without
    # knowing it (docker-py is one), the members of old are there too, unless the answer is to be verbose.
    usage = client.df()
    images = client.images.list(all=True)
    assert [image["Id"] for image in usage["Images"]] == [image.id for image in images]
    assert sleeper.id in [container["Id"] for container in usage["Containers"]]
    assert usage["LayersSize"] == usage["ImageUsage"]["TotalSize"] > 0
    assert usage["ImageUsage"]["TotalCount"] == len(images)
    assert usage["ContainerUsage"]["ActiveCount"] == 1
    assert usage["BuildCache"] == []
    verbose = client.api._result(client.api._get(client.api._url("/system/df"), params={"verbose": 1}), json=True)
    assert set(verbose) == {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}
    assert len(verbose["ImageUsage"]["Items"]) == len(images)


@pytest.fixture
def network(client):
    pool = docker.types.IPAMPool(
        subnet="172.28.7.0/24", gateway="172.28.7.1", iprange="172.28.7.128/25", aux_addresses={"spare": "172.28.7.128"}
    )
    network = client.networks.create(
        "pynet", driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"a": "b"}
    )
    yield network
    for container in client.containers.list(all=True, filters={"network": "pynet"}):
        container.remove(force=True)
    try:
        network.remove()
    except NotFound:
        pass


def addresses(container, name):
    code, output = container.exec_run(["nslookup", name])
    lines = [line for line in output.decode().splitlines() if line.startswith("Address: ")]
    return sorted(line.removeprefix("Address: ") for line in lines)


def test_network_attributes(client, network):
    network.reload()
    assert network.attrs["IPAM"]["Config"] == [
        {
            "Subnet": "172.28.7.0/24",
            "IPRange": "172.28.7.128/25",
            "Gateway": "172.28.7.1",
            "AuxiliaryAddresses": {"spare": "172.28.7.128"},
        }
    ]
    assert network.attrs["Labels"] == {"a": "b"}
    assert network.attrs["Containers"] == {}
    assert [found.name for found in client.networks.list(filters={"label": "a=b"})] == ["pynet"]
    assert [found.name for found in client.networks.list(names=["pynet"])] == ["pynet"]
    assert client.networks.get(network.id).name == "pynet"


def test_network_errors(client, network):
    with pytest.raises(NotFound):
        client.networks.get("nothere")
    with pytest.raises(APIError) as failure:
        client.networks.create("pynet")
    assert failure.value.status_code == 409
    with pytest.raises(APIError) as failure:
        client.networks.create(
            "bad", ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="172.28.7.0/33")])
        )
    assert failure.value.status_code == 400
    with pytest.raises(APIError) as failure:
        client.networks.get("bridge").remove()
    assert failure.value.status_code == 403


def test_connect_with_address_and_alias(client, network):
    asks = client.containers.run("busybox", "sleep 300", detach=True, network="pynet")
    told = client.containers.run("busybox", "sleep 300", detach=True, name="told")
    network.connect(told, aliases=["alias", "other"], ipv4_address="172.28.7.20")
    told.reload()
    joined = told.attrs["NetworkSettings"]["Networks"]
    assert sorted(joined) == ["bridge", "pynet"]
    assert joined["pynet"]["IPAddress"] == "172.28.7.20"
    assert joined["pynet"]["Aliases"] == ["alias", "other"]
    assert [addresses(asks, name) for name in ("told", "alias", "other.pynet")] == [["172.28.7.20"]] * 3
    network.reload()
    assert {c.name for c in network.containers} == {"told", asks.name}
    with pytest.raises(APIError) as failure:
        network.remove()
    assert failure.value.status_code == 403
    network.disconnect(told)
    assert addresses(asks, "alias") == []
    told.reload()
    assert sorted(told.attrs["NetworkSettings"]["Networks"]) == ["bridge"]
    with pytest.raises(APIError):
        network.disconnect(told)
    told.remove(force=True)


def test_network_prune(client, network):
    kept = client.networks.create("kept")
    user = client.containers.run("busybox", "sleep 300", detach=True, network="kept")
    assert client.networks.prune(filters={"label": ["a=b"]}) == {"NetworksDeleted": ["pynet"]}
    assert client.networks.prune() == {"NetworksDeleted": None}
    user.remove(force=True)
    kept.remove()


def test_published_ports(client, network):
    ports = {"80/tcp": ("127.0.0.1", None), "53/udp": [("127.0.0.1", 28253), ("127.0.0.1", 28254)], "81/tcp": 28281}
    serves = client.containers.run("busybox", "httpd -f -h /etc", detach=True, network="pynet", ports=ports)
    serves.reload()
    published = serves.ports
    assert published["53/udp"] == [
        {"HostIp": "127.0.0.1", "HostPort": "28253"},
        {"HostIp": "127.0.0.1", "HostPort": "28254"},
    ]
    assert {"HostIp": "0.0.0.0", "HostPort": "28281"} in published["81/tcp"]
    chosen = published["80/tcp"][0]["HostPort"]
    asks = f"wget -qO- http://127.0.0.1:{chosen}/group"
    assert b"root:x:0:" in client.containers.run("busybox", asks, remove=True, network_mode="host")
    with pytest.raises(APIError) as failure:
        client.containers.run("busybox", "true", ports={"80/tcp": ("127.0.0.1", int(chosen))}, remove=True)
    assert failure.value.status_code in (409, 500)
    for leftover in client.containers.list(all=True, filters={"status": "created"}):
        leftover.remove()


def test_network_events(client):
    network = client.networks.create("told")
    container = client.containers.run("busybox", "true", detach=True, network="told")
    container.wait()
    container.remove()
    network.remove()
    events = client.events(since=0, until=4102444800, filters={"type": "network", "network": "told"}, decode=True)
    actions = []
    for event in events:
        actions.append(event["Action"])
        if event["Action"] == "destroy":
            break
    events.close()
    assert actions == ["create", "connect", "disconnect", "destroy"]


def test_volumes_in_use_and_pruned(client):
    volume = client.volumes.create("pyvolume", labels={"a": "b"})
    user = client.containers.run(
        "busybox", ["sh", "-c", "echo kept > /d/file; exec sleep 300"], detach=True, volumes={"pyvolume": {"bind": "/d"}}
    )
    with pytest.raises(APIError) as failure:
        volume.remove()
    assert failure.value.status_code == 409
    user.remove(force=True)
    read = {"pyvolume": {"bind": "/d", "mode": "ro"}}
    assert client.containers.run("busybox", "cat /d/file", remove=True, volumes=read) == b"kept\n"
    assert [found.name for found in client.volumes.list(filters={"label": "a=b"})] == ["pyvolume"]
    assert client.volumes.prune(filters={"label": ["a=c"], "all": True})["VolumesDeleted"] is None
    assert client.volumes.prune(filters={"label": ["a=b"], "all": True})["VolumesDeleted"] == ["pyvolume"]
    with pytest.raises(NotFound):
        client.volumes.get("pyvolume")
