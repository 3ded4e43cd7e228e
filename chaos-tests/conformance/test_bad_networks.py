"""Bad input of networks: dockerd's status and words for each, asked over plain HTTP, because clients refuse much
of it themselves and hide the status of the rest."""

import os
import re

import docker
import pytest

VERSION = "/v1.51"
FRONT, AUTO, TINY = "172.29.10.0/24", "auto", "172.29.11.0/30"


@pytest.fixture(scope="module")
def client():
    client = docker.from_env(timeout=60)
    with open(os.environ["ROOTFS"], "rb") as rootfs:
        client.api.import_image_from_data(rootfs.read(), repository="busybox", tag="latest", changes=["CMD [\"sh\"]"])
    yield client
    client.close()


def ask(client, method, path, body=None):
    """Status and message of an answer; ids are replaced by <id>."""
    low = client.api
    answer = getattr(low, method)(f"{low.base_url}{VERSION}{path}", json=body, timeout=60)
    text = answer.json().get("message", "") if answer.content else ""
    return answer.status_code, re.sub(r"[0-9a-f]{64}", "<id>", text)


def network(client, name, subnet=None, **fields):
    ipam = {"Config": [{"Subnet": subnet}]} if subnet else None
    status, text = ask(client, "post", "/networks/create", {"Name": name, "IPAM": ipam, **fields})
    assert status == 201, text


def container(client, name, mode, command="sleep 300", start=True, wish=None, **host):
    body = {
        "Image": "busybox",
        "Cmd": ["sh", "-c", command],
        "HostConfig": {"NetworkMode": mode, **host},
        "NetworkingConfig": {"EndpointsConfig": {mode: wish}} if wish else None,
    }
    status, text = ask(client, "post", f"/containers/create?name={name}", body)
    assert status == 201, text
    if start:
        assert ask(client, "post", f"/containers/{name}/start") == (204, "")


@pytest.fixture(scope="module")
def host(client):
    """Networks and containers to trip over."""
    network(client, "front", FRONT)
    network(client, AUTO)
    network(client, "tiny", TINY)
    container(client, "one", "front", wish={"IPAMConfig": {"IPv4Address": "172.29.10.10"}})
    container(client, "filler", "tiny")
    container(client, "still", "front", start=False)
    container(client, "hosted", "host")
    container(client, "lonely", "none")
    container(client, "guest", "container:one")
    container(client, "web", "bridge", PortBindings={"80/tcp": [{"HostPort": "28190"}]})
    yield client
    for name in ["web", "guest", "lonely", "hosted", "still", "filler", "one"]:
        assert ask(client, "delete", f"/containers/{name}?force=1") == (204, "")
    for name in ["tiny", AUTO, "front"]:
        assert ask(client, "delete", f"/networks/{name}") == (204, "")


def pool(**config):
    return {"Name": "bad", "IPAM": {"Config": [config]}}


def options(**values):
    prefix = "com.docker.network."
    return {"Name": "bad", "Options": {prefix + key.replace("__", "."): value for key, value in values.items()}}


CONFIG = "invalid network config:\n"
OVERLAP = "invalid pool request: Pool overlaps with other one on this address space: "

CREATIONS = [
    ({"Name": ""}, 400, "invalid name: name is empty"),
    ({"Name": "  "}, 400, "invalid name: name is empty"),
    ({"Name": "front"}, 409, "network with name front already exists"),
    ({"Name": "host"}, 403, "operation is not permitted on predefined host network "),
    ({"Name": "bad", "Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
    ({"Name": "bad", "IPAM": {"Driver": "nosuch"}}, 404, 'plugin "nosuch" not found'),
    ({"Name": "bad", "EnableIPv4": False}, 400, "IPv4 or IPv6 must be enabled"),
    (pool(), 400, CONFIG + "invalid subnet : invalid CIDR block notation"),
    (pool(Subnet="10.0.0.0"), 400, CONFIG + "invalid subnet 10.0.0.0: invalid CIDR block notation"),
    (pool(Subnet="10.0.0.0/33"), 400, CONFIG + "invalid subnet 10.0.0.0/33: invalid CIDR block notation"),
    (pool(Subnet="10.7.0.7/24"), 400, CONFIG + "invalid subnet 10.7.0.7/24: it should be 10.7.0.0/24"),
    (
        pool(Subnet="10.7.0.0/24", IPRange="10.8.0.0/25"),
        400,
        CONFIG + "invalid ip-range 10.8.0.0/25: parent subnet 10.7.0.0/24 doesn't contain ip-range",
    ),
    (
        pool(Subnet="10.7.0.0/24", IPRange="10.7.0.0/16"),
        400,
        CONFIG + "invalid ip-range 10.7.0.0/16: CIDR block is bigger than its parent subnet 10.7.0.0/24",
    ),
    (pool(Subnet="10.7.0.0/24", Gateway="x"), 400, CONFIG + "invalid gateway x: invalid address"),
    (
        pool(Subnet="10.7.0.0/24", Gateway="10.8.0.1"),
        400,
        CONFIG + "invalid gateway 10.8.0.1: parent subnet 10.7.0.0/24 doesn't contain this address",
    ),
    (
        pool(Subnet="10.7.0.0/24", Gateway="10.7.0.0"),
        500,
        "failed to allocate gateway (10.7.0.0): Address already in use",
    ),
    (
        pool(Subnet="10.7.0.0/24", AuxiliaryAddresses={"spare": "10.8.0.9"}),
        400,
        CONFIG + "invalid auxiliary address spare: parent subnet 10.7.0.0/24 doesn't contain this address",
    ),
    (
        pool(Subnet="10.7.0.0/24", Gateway="10.7.0.9", AuxiliaryAddresses={"spare": "10.7.0.9"}),
        500,
        "failed to allocate secondary ip address (spare:10.7.0.9): Address already in use",
    ),
    (
        pool(Subnet="10.7.0.0/24", Gateway="10.8.0.1", AuxiliaryAddresses={"spare": "y"}),
        400,
        CONFIG + "* invalid gateway 10.8.0.1: parent subnet 10.7.0.0/24 doesn't contain this address\n"
        "* invalid auxiliary address spare: invalid address",
    ),
    (
        pool(Subnet=FRONT),
        403,
        OVERLAP + "subnet `172.29.10.0/24` of network `bad` overlaps `172.29.10.0/24` of network `front`",
    ),
    (
        pool(Subnet="172.29.10.128/25"),
        403,
        OVERLAP + "subnet `172.29.10.128/25` of network `bad` overlaps `172.29.10.0/24` of network `front`",
    ),
    (
        {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.7.0.0/24"}, {"Subnet": "10.8.0.0/24"}]}},
        403,
        "bridge driver doesn't support multiple subnets",
    ),
    (
        options(bridge__enable_icc="maybe"),
        400,
        "invalid value `maybe` of network option `com.docker.network.bridge.enable_icc`: expected true or false",
    ),
    (options(enable_ipv6="maybe"), 400, 'driver-opt "com.docker.network.enable_ipv6" is not a valid bool'),
    (
        options(bridge__nosuch="1"),
        400,
        "invalid value `1` of network option `com.docker.network.bridge.nosuch`: expected an option that the bridge "
        "driver of Shoal knows",
    ),
]


@pytest.mark.parametrize("body, status, text", CREATIONS)
def test_networks_that_are_refused(host, body, status, text):
    assert ask(host, "post", "/networks/create", body) == (status, text)
    assert [found.name for found in host.networks.list(names=["bad"])] == []


@pytest.mark.parametrize(
    "name, status, text",
    [
        ("nosuch", 404, "network nosuch not found"),
        ("bridge", 403, "bridge is a pre-defined network and cannot be removed"),
        ("host", 403, "host is a pre-defined network and cannot be removed"),
    ],
)
def test_removals_that_are_refused(host, name, status, text):
    assert ask(host, "delete", f"/networks/{name}") == (status, text)


def test_a_network_in_use_stays(host):
    status, text = ask(host, "delete", "/networks/front")
    assert status == 403
    assert re.fullmatch(
        r'error while removing network: network front has active endpoints \(name:"one" id:"[0-9a-f]{12}"\)', text
    )


SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
TO_HOST = "cannot connect container to host network - container must be created in host network mode"
NONE_MODE = (
    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
)
SETTINGS = "invalid endpoint settings:\n"
STATIC_ONLY = "user specified IP address is supported only when connecting to networks with user configured subnets"
PLAIN = "user specified IP address is supported on user defined networks only"


def static(address, family="IPv4Address"):
    return {"IPAMConfig": {family: address}}


@pytest.mark.parametrize(
    "network, container, wish, status, text",
    [
        ("nosuch", "one", None, 404, "network nosuch not found"),
        (AUTO, "nosuch", None, 404, "No such container: nosuch"),
        ("front", "one", None, 403, "endpoint with name one already exists in network front"),
        ("front", "still", None, 200, ""),
        (AUTO, "hosted", None, 400, SHARED),
        (AUTO, "guest", None, 400, SHARED),
        ("host", "one", None, 400, TO_HOST),
        ("host", "still", None, 400, TO_HOST),
        ("none", "one", None, 400, NONE_MODE),
        (AUTO, "lonely", None, 400, NONE_MODE),
        (AUTO, "one", static("172.29.10.77"), 400, SETTINGS + STATIC_ONLY),
        ("front", "web", static("172.30.0.9"), 400,
         SETTINGS + "no configured subnet or ip-range contain the IP address 172.30.0.9"),
        ("front", "web", static("fd00::1", "IPv6Address"), 400, SETTINGS + STATIC_ONLY),
        ("front", "web", static("x"), 400, SETTINGS + "invalid IPv4 address: x"),
        ("front", "web", static("172.29.10.10"), 403, "Address already in use"),
        ("front", "web", {"MacAddress": "mac"}, 400, "invalid MAC address mac"),
        ("bridge", "one", static("172.17.0.9"), 400, None),
        ("tiny", "one", None, 500, "no available IPv4 addresses on this network's address pools: tiny (<id>)"),
    ],
)
def test_connections_that_are_refused(host, network, container, wish, status, text):
    body = {"Container": container, "EndpointConfig": wish}
    answer = ask(host, "post", f"/networks/{network}/connect", body)
    assert answer[0] == status, answer
    if text is None:
        assert PLAIN in answer[1]
    else:
        assert answer[1] == text


@pytest.mark.parametrize(
    "network, container, status, text",
    [
        ("nosuch", "one", 404, "network nosuch not found"),
        ("front", "nosuch", 404, "No such container: nosuch"),
        (AUTO, "one", 500, f"container <id> is not connected to network {AUTO}"),
        (AUTO, "still", 500, f"container <id> is not connected to the network {AUTO}"),
        ("host", "hosted", 400,
         "cannot disconnect container from host network - container was created in host network mode"),
    ],
)
def test_disconnections_that_are_refused(host, network, container, status, text):
    assert ask(host, "post", f"/networks/{network}/disconnect", {"Container": container}) == (status, text)


def wished(network, wish):
    return {
        "Image": "busybox",
        "HostConfig": {"NetworkMode": network},
        "NetworkingConfig": {"EndpointsConfig": {network: wish}},
    }


def ports(key, *bindings):
    return {"Image": "busybox", "HostConfig": {"PortBindings": {key: list(bindings)}}}


@pytest.mark.parametrize(
    "body, status, text",
    [
        (wished("bridge", static("172.17.0.9")), 400, None),
        (
            wished("default", {"Aliases": ["a"]}),
            400,
            "invalid config for network default: " + SETTINGS
            + "network-scoped alias is supported only for containers in user defined networks",
        ),
        (
            wished("front", static("172.30.0.9")),
            400,
            "invalid config for network front: " + SETTINGS
            + "no configured subnet or ip-range contain the IP address 172.30.0.9",
        ),
        (wished(AUTO, static("172.29.10.77")), 400, f"invalid config for network {AUTO}: " + SETTINGS + STATIC_ONLY),
        (wished("front", {"MacAddress": "mac"}), 400, "invalid config for network front: invalid MAC address mac"),
        (ports("x/tcp"), 400, 'invalid port specification: "x"'),
        (ports("80/tcp", {"HostPort": "70000"}), 400, 'invalid port specification: "70000"'),
        (ports("80/tcp", {"HostPort": "9-8"}), 400, 'invalid port specification: "9-8"'),
        (ports("80/icmp", {"HostPort": "80"}), 400, "invalid proto: icmp"),
        (
            {"Image": "busybox", "HostConfig": {"NetworkMode": "container:"}},
            400,
            "Invalid network mode: invalid container format container:<name|id>",
        ),
        (
            {"Image": "busybox", "HostConfig": {"NetworkMode": "container:one", "PublishAllPorts": True}},
            400,
            "conflicting options: port publishing and the container type network mode",
        ),
    ],
)
def test_containers_that_are_refused(host, body, status, text):
    answer = ask(host, "post", "/containers/create?name=bad", body)
    assert answer[0] == status, answer
    if text is None:
        assert answer[1] == "invalid config for network bridge: " + SETTINGS + PLAIN
    else:
        assert answer[1] == text


SET_UP = "failed to set up container networking: "


@pytest.mark.parametrize(
    "mode, options, status, text",
    [
        ("nosuch", {}, 404, SET_UP + "network nosuch not found"),
        ("front", {"wish": static("172.29.10.10")}, 403, SET_UP + "Address already in use"),
        ("tiny", {}, 500, SET_UP + "no available IPv4 addresses on this network's address pools: tiny (<id>)"),
        (
            "bridge",
            {"PortBindings": {"81/tcp": [{"HostPort": "28190"}]}},
            500,
            SET_UP + "driver failed programming external connectivity on endpoint bad: Bind for 0.0.0.0:28190 failed: "
            "port is already allocated",
        ),
        (
            "bridge",
            {"PortBindings": {"81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "28190-28190"}]}},
            500,
            SET_UP + "driver failed programming external connectivity on endpoint bad: Bind for 127.0.0.1:28190 failed: "
            "port is already allocated",
        ),
        ("container:nosuch", {}, 500, "joining network namespace of container: No such container: nosuch"),
        ("container:bad", {}, 500, "cannot join own network namespace"),
        (
            "container:still",
            {},
            409,
            "cannot join network namespace of a non running container: container still is created",
        ),
    ],
)
def test_starts_that_are_refused(host, mode, options, status, text):
    container(host, "bad", mode, start=False, **options)
    try:
        assert ask(host, "post", "/containers/bad/start") == (status, text)
        assert ask(host, "get", "/containers/bad/json")[0] == 200
    finally:
        assert ask(host, "delete", "/containers/bad?force=1") == (204, "")


def test_a_range_of_taken_ports(host):
    taken = {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(28110 + port)}] for port in (81, 82)}
    container(host, "taker", "bridge", PortBindings=taken)
    bindings = {"81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "28191-28192"}]}
    container(host, "bad", "bridge", start=False, PortBindings=bindings)
    status, text = ask(host, "post", "/containers/bad/start")
    for name in ("bad", "taker"):
        assert ask(host, "delete", f"/containers/{name}?force=1") == (204, "")
    assert (status, text) == (
        500,
        SET_UP + "driver failed programming external connectivity on endpoint bad: Bind for 127.0.0.1:28191-28192 "
        "failed: all ports are allocated",
    )


def test_pools_that_are_exhausted(host):
    """The host's default pools hold about thirty networks of the size that docker gives."""
    made = []
    try:
        for number in range(64):
            status, text = ask(host, "post", "/networks/create", {"Name": f"pool{number}"})
            if status != 201:
                break
            made.append(f"pool{number}")
        assert (status, text) == (400, "all predefined address pools have been fully subnetted")
        assert 10 < len(made) < 40
    finally:
        for name in made:
            assert ask(host, "delete", f"/networks/{name}") == (204, "")


@pytest.mark.parametrize("name", ["with blank", "a/b", "ümlaut", "%41"])
def test_docker_takes_any_name_that_is_not_blank(host, name):
    from urllib.parse import quote

    network(host, name)
    found = host.networks.list(names=[name])
    assert [one.name for one in found] == [name]
    assert ask(host, "delete", "/networks/" + quote(name)) == (204, "")
