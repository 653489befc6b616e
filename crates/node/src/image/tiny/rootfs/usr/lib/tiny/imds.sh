# The instance metadata service, version 2 where it is to be had, else version 1. To be sourced.

. /usr/lib/tiny/http.sh

imds_host=169.254.169.254
imds_token=

# imds_open: asks for a token. Fails if nobody answers.
imds_open() {
	imds_token=
	http PUT $imds_host 80 /latest/api/token '' 'X-aws-ec2-metadata-token-ttl-seconds: 21600' || return
	# Any other answer: there is no version 2 here.
	[ "$http_status" != 200 ] || imds_token=$(http_body)
}

# imds PATH: prints what is at /latest/PATH. Fails if it isn't there.
imds() {
	if [ -n "$imds_token" ]; then
		http GET $imds_host 80 "/latest/$1" '' "X-aws-ec2-metadata-token: $imds_token" || return
	else
		http GET $imds_host 80 "/latest/$1" '' || return
	fi
	[ "$http_status" = 200 ] && http_body
}
