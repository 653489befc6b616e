"""Reads a metadata service with botocore's own fetchers. Run by metadata.rs with the service's URL."""

import sys

from botocore.utils import IMDSFetcher, InstanceMetadataFetcher, InstanceMetadataRegionFetcher

url = sys.argv[1]

token = IMDSFetcher(base_url=url)._fetch_metadata_token()
assert token and len(token) == 56, token

text = IMDSFetcher(base_url=url)._get_request("latest/dynamic/instance-identity/document", None, token=token).text
assert '"instanceId" : "i-00000000000000001"' in text, text

region = InstanceMetadataRegionFetcher(base_url=url, num_attempts=2).retrieve_region()
assert region == "us-west-2", region

assert InstanceMetadataFetcher(base_url=url, num_attempts=2).retrieve_iam_role_credentials() == {}
