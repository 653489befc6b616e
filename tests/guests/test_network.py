"""Security groups decide what reaches a guest; tenants don't see each other."""

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


def test_another_tenants_guest_is_not_reached_even_at_the_same_address(cloud):
    mine = cloud.run()
    cloud.ssh(mine, "echo ready")
    told = cloud.instance(mine)
    other = cloud.account("neighbour")
    client = cloud.client(credentials=other)
    # The image is the first account's own: to a stranger it doesn't exist.
    with pytest.raises(client.exceptions.ClientError) as refused:
        client.run_instances(ImageId=cloud.image, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    assert refused.value.response["Error"]["Code"] == "InvalidAMIID.NotFound"
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


def test_a_guest_reaches_neither_the_host_nor_its_private_ranges(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "echo ready")
    for address, port in [("203.0.113.2", 4566), ("127.0.0.1", 4566), ("100.64.0.1", 4566), ("192.168.1.1", 80), ("10.1.2.3", 80)]:
        out = cloud.ssh(guest, f"wget -q -T 3 -O - http://{address}:{port}/ ; echo status $?", check=False).stdout
        assert "status 0" not in out and "<" not in out, f"{address}:{port}: {out}"
    cloud.terminate(guest)


def test_a_guest_cant_take_another_address(cloud):
    one, two = cloud.run(count=2)
    cloud.ssh(two, "echo ready")
    free = "172.31.15.254"
    cloud.ssh(one, f"ip addr add {free}/32 dev eth0; ip route replace default dev eth0 src {free} 2>/dev/null; "
                   f"ping -c 2 -W 2 -I {free} {cloud.instance(two)['PrivateIpAddress']} | tail -n 2 > /tmp/out; reboot -f", check=False)
    out = cloud.ssh(two, "cat /proc/net/snmp | grep '^Icmp:' | tail -n 1")
    assert out.split()[8] == "0", f"the second guest saw an echo request: {out}"
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
