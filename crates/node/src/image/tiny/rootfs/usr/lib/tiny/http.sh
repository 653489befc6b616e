# HTTP by nc, since busybox's wget has no PUT and no timeout. To be sourced.

# http METHOD HOST PORT PATH BODY [HEADER…]
# Sends BODY (a file, or empty) and leaves the answer in $http_raw; sets http_status and http_head, the number of bytes before the
# answer's body. Fails if there is no answer. HTTP/1.0, so that no answer comes in chunks.
http() {
	http_method=$1 http_host=$2 http_port=$3 http_path=$4 http_body=$5
	shift 5
	http_status=
	rm -f "$http_fifo"
	mkfifo "$http_fifo" || return
	# Open for both, so that nc sees no end of its input: servers take a half closed connection for a cut one.
	exec 3<>"$http_fifo"
	{
		printf '%s %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n' "$http_method" "$http_path" "$http_host"
		for http_header; do
			printf '%s\r\n' "$http_header"
		done
		case $http_method$http_body in
		GET | HEAD | DELETE) ;;
		*[!A-Z]*) printf 'Content-Length: %s\r\n' "$(stat -c %s "$http_body")" ;;
		*) printf 'Content-Length: 0\r\n' ;;
		esac
		printf '\r\n'
		[ -z "$http_body" ] || cat "$http_body"
	} >&3 &
	timeout "${http_seconds:-10}" nc -w "${http_connect_seconds:-2}" "$http_host" "$http_port" <&3 >"$http_raw" 2>/dev/null
	exec 3>&-
	{ IFS=' ' read -r _ http_status _ || return; } <"$http_raw"
	case $http_status in
	[1-5][0-9][0-9]) ;;
	*) http_status= && return 1 ;;
	esac
	http_head=0
	while IFS= read -r http_line; do
		http_head=$((http_head + ${#http_line} + 1))
		[ "$http_line" != "$http_cr" ] || return 0
	done <"$http_raw"
	return 1
}

# The body of the last answer.
http_body() {
	tail -c "+$((http_head + 1))" "$http_raw"
}

http_cr=$(printf '\r')
http_directory=$(mktemp -d /tmp/http.XXXXXX)
http_fifo=$http_directory/fifo http_raw=$http_directory/raw
trap 'rm -rf "$http_directory"' EXIT
trap 'exit 1' INT TERM
