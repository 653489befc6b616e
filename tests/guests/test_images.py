"""Images are for every account and region that may launch them, and stand on one file."""

import json

from cloud import wait_for


def test_another_account_runs_the_public_image_in_another_region(cloud, workdir):
    ec2 = cloud.client(credentials=cloud.account("elsewhere"), region="eu-west-1")
    [image] = ec2.describe_images(Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"]
    assert image["Public"] and image["ImageId"] != cloud.image
    listed = {i["ImageId"]: i for i in json.loads(cloud.pileus("image", "list", "--json").stdout)}
    assert listed[image["ImageId"]]["Files"] == listed[cloud.image]["Files"]
    assert [d.name for d in (cloud.data_dir / "images").iterdir() if d.name == image["ImageId"]] == [], "no file of its own"

    key = workdir / "elsewhere.pem"
    key.write_text(ec2.create_key_pair(KeyName="elsewhere", KeyType="ed25519")["KeyMaterial"])
    key.chmod(0o600)
    [made] = ec2.run_instances(ImageId=image["ImageId"], InstanceType="t3.nano", KeyName="elsewhere", MinCount=1, MaxCount=1)["Instances"]
    guest = made["InstanceId"]

    def ssh(command):
        return cloud.pileus("ssh", "--identity", key, "--wait", "150", guest, "--", command).stdout

    def wait_state(name):
        def state():
            return ec2.describe_instances(InstanceIds=[guest])["Reservations"][0]["Instances"][0]["State"]["Name"]
        wait_for(f"{guest} is {name}", 180, lambda: state() == name)

    assert ssh("hostname -f").strip().endswith("eu-west-1.compute.internal")
    assert ssh("curl -s http://169.254.169.254/latest/meta-data/ami-id").strip() == image["ImageId"]
    ssh("echo kept >/root/kept && sync")

    # The image goes; its instance stops and starts again.
    assert cloud.pileus("image", "rm", image["ImageId"]).stdout.split() == [image["ImageId"]]
    ec2.stop_instances(InstanceIds=[guest])
    wait_state("stopped")
    ec2.start_instances(InstanceIds=[guest])
    assert ssh("cat /root/kept") == "kept\n"
    ec2.terminate_instances(InstanceIds=[guest])
    wait_state("terminated")
