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
