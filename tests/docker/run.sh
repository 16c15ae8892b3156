#!/bin/sh
# Runs the Docker tests against a dockerd of their own: own socket, data, cgroups; ended by its PID.
#
#   tests/docker/run.sh PYTHON [pytest arguments]
#
# Needs Linux, root and a dockerd. Where there is none, Debian's packages are fetched and unpacked
# into .venv/.docker: nothing is installed, no service is started.
set -eu

python=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
unpacked=$root/.venv/.docker

skip() { echo "test-docker: SKIPPED: $1"; exit 0; }
[ "$(uname -s)" = Linux ] || skip "needs Linux"
[ "$(id -u)" = 0 ] || skip "dockerd needs root"

path_of() { echo "$1/usr/bin:$1/usr/sbin:$1/sbin"; }
if ! command -v dockerd >/dev/null && [ ! -x "$unpacked/root/usr/sbin/dockerd" ]; then
	command -v apt-get >/dev/null || skip "no dockerd here, and not a Debian that could fetch docker.io"
	mkdir -p "$unpacked/debs/partial" "$unpacked/root"
	apt-get update -q >"$unpacked/fetch.log" 2>&1 || true
	apt-get install -qy --no-install-recommends --download-only \
		-o Dir::Cache::archives="$unpacked/debs" docker.io busybox-static >>"$unpacked/fetch.log" 2>&1 ||
		skip "docker.io cannot be fetched, see $unpacked/fetch.log"
	for file in "$unpacked"/debs/*.deb; do dpkg -x "$file" "$unpacked/root"; done
fi
PATH=$(path_of "$unpacked/root"):$PATH
export PATH
busybox=$(command -v busybox || echo "$unpacked/root/bin/busybox")
[ -x "$busybox" ] || skip "busybox is missing: apt-get install busybox-static"
if command -v ldd >/dev/null && ldd "$busybox" 2>/dev/null | grep -q '=>'; then
	skip "busybox is not static: apt-get install busybox-static"
fi

work=$(mktemp -d /tmp/ullage-docker.XXXXXX)
stop() {
	daemon=$(cat "$work/docker.pid" 2>/dev/null || true)  # a test may have started it anew
	if [ -n "$daemon" ]; then
		docker -H "unix://$work/docker.sock" ps -aq 2>/dev/null |
			xargs -r docker -H "unix://$work/docker.sock" rm -f >/dev/null 2>&1 || true
		kill "$daemon" 2>/dev/null || true
		tries=0
		while kill -0 "$daemon" 2>/dev/null && [ "$tries" -lt 200 ]; do
			tries=$((tries + 1))
			sleep 0.1
		done
	fi
	grep -F " $work/" /proc/self/mountinfo | awk '{print $5}' | sort -r | while read -r point; do
		umount "$point" 2>/dev/null || true
	done
	for mounted in /sys/fs/cgroup/*/ullage-docker-$$ /sys/fs/cgroup/ullage-docker-$$; do
		[ -d "$mounted" ] && rmdir "$mounted" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# In a file of its own, so that a test can stop the daemon and start it again; its containers go on.
cat >"$work/start-dockerd" <<START
#!/bin/sh
exec dockerd --host "unix://$work/docker.sock" --data-root "$work/data" --exec-root "$work/exec" \
	--pidfile "$work/docker.pid" --cgroup-parent "/ullage-docker-$$" --exec-opt native.cgroupdriver=cgroupfs \
	--storage-driver vfs --iptables=false --ip6tables=false --bridge=none --live-restore >>"$work/log" 2>&1
START
chmod +x "$work/start-dockerd"
"$work/start-dockerd" &
daemon=$!
tries=0
until docker -H "unix://$work/docker.sock" version >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ] || ! kill -0 "$daemon" 2>/dev/null; then
		tail -n 5 "$work/log" >&2
		skip "this dockerd does not start here (its last words are above)"
	fi
	sleep 0.1
done

# An image of one static program.
mkdir -p "$work/image/bin"
cp "$busybox" "$work/image/bin/busybox"
ln -s busybox "$work/image/bin/sleep"
tar -C "$work/image" -c . | docker -H "unix://$work/docker.sock" import - ullage-test >/dev/null

echo "test-docker: $(dockerd --version), API $(docker -H "unix://$work/docker.sock" version -f '{{.Server.APIVersion}}')"
TEST_DOCKER_SOCKET=$work/docker.sock TEST_DOCKER_START=$work/start-dockerd TEST_DOCKER_PID=$work/docker.pid \
	"$python" -m pytest -p no:xdist "$@"
