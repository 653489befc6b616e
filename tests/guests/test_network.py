"""Security groups decide what reaches a guest; tenants don't see each other."""

import subprocess
import sys
import urllib.request

import pytest

from cloud import Cloud


def default_group(client):
    [group] = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    return group["GroupId"]


def reaches(cloud, source, address, port=22):
    """Whether a guest gets a TCP connection: a banner, within 5 s."""
    done = cloud.ssh(source, f"timeout 5 nc {address} {port} </dev/null | head -c 4", check=False)
    return done.stdout.startswith("SSH-")


def test_the_default_group_lets_in_its_own_members_only_while_the_rule_stands(cloud):
    one, two = cloud.run(count=2)
    address = cloud.instance(two)["PrivateIpAddress"]
    cloud.ssh(two, "echo ready")
    assert reaches(cloud, one, address)
    group = default_group(cloud.ec2)
    rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    cloud.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    try:
        assert not reaches(cloud, one, address)
        # The operator's door comes from the router: no inbound rule is needed.
        assert cloud.ssh(two, "echo the door") == "the door\n"
        # A rule for an address and a port lets in just that.
        narrow = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                  "IpRanges": [{"CidrIp": cloud.instance(one)["PrivateIpAddress"] + "/32"}]}
        cloud.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[narrow])
        assert reaches(cloud, one, address)
        assert not reaches(cloud, two, cloud.instance(one)["PrivateIpAddress"])
        cloud.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[narrow])
        assert not reaches(cloud, one, address)
    finally:
        cloud.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    assert reaches(cloud, one, address)
    cloud.terminate(one, two)


def test_port_22_is_refused_to_a_guest_in_another_group(cloud):
    other = cloud.ec2.create_security_group(GroupName="others", Description="not the default one")["GroupId"]
    mine, mate, stranger = cloud.run(), cloud.run(), cloud.run(SecurityGroupIds=[other])
    address = cloud.instance(mine)["PrivateIpAddress"]
    cloud.ssh(mine, "echo ready")
    assert reaches(cloud, mate, address)
    assert not reaches(cloud, stranger, address)
    # A new group lets nothing in, from whomever.
    assert not reaches(cloud, mine, cloud.instance(stranger)["PrivateIpAddress"])
    # Named in a rule of the default group, the stranger's group is let in, to that port.
    group = default_group(cloud.ec2)
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": other}]}
    cloud.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    assert reaches(cloud, stranger, address)
    cloud.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    cloud.terminate(mine, mate, stranger)
    cloud.ec2.delete_security_group(GroupId=other)


def test_another_tenants_guest_is_not_reached_even_at_the_same_address(cloud):
    mine = cloud.run()
    cloud.ssh(mine, "echo ready")
    told = cloud.instance(mine)
    other = cloud.account("neighbour")
    client = cloud.client(credentials=other)
    for call, words in [(client.describe_instances, {"InstanceIds": [mine]}), (client.stop_instances, {"InstanceIds": [mine]}),
                        (client.terminate_instances, {"InstanceIds": [mine]}), (client.get_console_output, {"InstanceId": mine})]:
        with pytest.raises(client.exceptions.ClientError) as refused:
            call(**words)
        assert refused.value.response["Error"]["Code"] == "InvalidInstanceID.NotFound"
    assert cloud.state(mine) == "running"
    # From outside, a public address is open only as far as the group says: not at all.
    assert told["PublicIpAddress"]
    second = cloud.run()
    assert not reaches(cloud, second, told["PublicIpAddress"])
    cloud.terminate(mine, second)


def test_a_guest_reaches_neither_the_host_nor_its_private_ranges(cloud, internet, private, workdir):
    page = workdir / "page"
    page.mkdir()
    (page / "index.html").write_text("the host answers\n")
    # The host itself listens everywhere, so that a refusal is the filter's.
    host = subprocess.Popen([sys.executable, "-m", "http.server", "4577", "--bind", "0.0.0.0", "--directory", page],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        guest = cloud.run()

        def fetch(address, port):
            return cloud.ssh(guest, f"timeout 3 wget -q -O - http://{address}:{port}/", check=False).stdout

        assert fetch(internet, 80) == "the internet answers\n"
        for address, port in [(private, 80), ("203.0.113.2", 4577), ("100.64.0.1", 4577), ("172.31.0.1", 4577), ("127.0.0.1", 4577)]:
            assert fetch(address, port) == "", f"{address}:{port}"
        assert urllib.request.urlopen(f"http://{private}/", timeout=5).read() == b"the internet answers\n"
        assert urllib.request.urlopen("http://203.0.113.2:4577/", timeout=5).read() == b"the host answers\n"
        cloud.terminate(guest)
    finally:
        host.kill()
        host.wait()


def test_a_guest_cant_take_another_address(cloud):
    one, two = cloud.run(count=2)
    cloud.ssh(two, "echo ready")
    address = cloud.instance(two)["PrivateIpAddress"]

    def echoes():
        """How many echo requests the second guest has seen."""
        return int(cloud.ssh(two, "grep '^Icmp:' /proc/net/snmp | tail -n 1").split()[9])

    # From its own address an echo is seen, and answered; from one that isn't its own it leaves nothing.
    cloud.ssh(one, f"ping -c 1 -W 2 {address}")
    before = echoes()
    assert before == 1
    out = cloud.ssh(one, f"ip addr add 172.31.15.254/20 dev eth0; ping -c 2 -W 2 -I 172.31.15.254 {address}; ip addr del 172.31.15.254/20 dev eth0",
                    check=False).stdout
    assert "2 packets transmitted, 0 packets received" in out
    assert echoes() == before
    cloud.terminate(one, two)


@pytest.mark.parametrize("uplink", ["none"])
def test_without_a_way_out_the_cloud_starts_and_says_so(workdir, uplink):
    config = workdir / "no-way-out.toml"
    config.write_text(f'[network]\nuplink = "{uplink}"\n')
    cloud = Cloud(workdir / "n", listen="127.0.0.1:4599", config=config).start()
    try:
        assert "none" in cloud.status()["way_out"].lower()
    finally:
        assert cloud.stop() == 0
