#!/bin/sh
# Boots a Debian kernel with cgroup v2 in QEMU (no KVM needed) and runs the v2 tests in it.
#
#   tests/qemu/run.sh [--user-scope] PYTHON [pytest arguments]
#
# Without --user-scope the tests run as root below the root of the hierarchy. With it the guest boots
# systemd, and they run as an ordinary user in a delegated scope of that user's own manager:
#
#   systemd-run --user --scope -p Delegate=yes -- PYTHON -m pytest ...
#
# The guest sees this machine's files read-only by 9p, with a tmpfs over what is written to.
# QEMU_KERNEL=VERSION chooses a kernel of /boot; QEMU_MEMORY and QEMU_PATIENCE_S as named.
set -eu

scope=no
[ "$1" = --user-scope ] && scope=yes && shift
python=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
packages="qemu-system-x86 busybox-static cpio kmod e2fsprogs linux-image-amd64"

fail() { echo "test-cgroup2: $1" >&2; exit 1; }
[ "$scope" = no ] || packages="$packages systemd dbus-user-session"
[ "$scope" = no ] || [ -x /lib/systemd/systemd ] || fail "systemd is missing: apt-get install $packages"
for program in qemu-system-x86_64 busybox cpio modprobe mkfs.ext4; do
	command -v "$program" >/dev/null || fail "$program is missing: apt-get install $packages"
done
version=${QEMU_KERNEL:-$(ls /boot | sed -n 's/^vmlinuz-//p' | sort -V | tail -n 1)}
[ -n "$version" ] && [ -r "/boot/vmlinuz-$version" ] || fail "no kernel in /boot: apt-get install $packages"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$work/image/bin" "$work/image/modules" "$work/image/proc" "$work/image/sys" "$work/image/host"
cp "$(command -v busybox)" "$work/image/bin/busybox"
# The modules in the order in which they need each other.
number=10
for module in virtio_pci virtio_blk ext4 9pnet_virtio 9p overlay; do
	for file in $(modprobe --set-version "$version" --show-depends "$module" | sed -n 's/^insmod //p'); do
		name=$(basename "$file")
		ls "$work/image/modules" | grep -q -- "-$name\$" && continue
		cp "$file" "$work/image/modules/$number-$name"
		number=$((number + 1))
	done
done

# Tests of the page cache need a file system on a disk.
truncate -s 1G "$work/disk"
mkfs.ext4 -q -F "$work/disk"

cat >"$work/image/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
for module in /modules/*; do
	case $module in
	*.xz) $B xzcat "$module" >/module.ko; $B insmod /module.ko ;;
	*) $B insmod "$module" ;;
	esac
done
$B mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /host || $B poweroff -f
$B mkdir /over && $B mount -t tmpfs tmpfs /over && $B mkdir /over/upper /over/work /new
$B mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /new
$B mount -t proc proc /new/proc
$B mount -t sysfs sysfs /new/sys
$B mount -t devtmpfs devtmpfs /new/dev
$B mkdir -p /new/dev/shm /new/dev/pts
$B mount -t tmpfs tmpfs /new/dev/shm
$B mount -t devpts devpts /new/dev/pts
$B mount -t tmpfs tmpfs /new/run
$B mount -t ext4 /new/dev/vda /new/mnt || $B poweroff -f
$B mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$B ip link set lo up 2>/dev/null
$B cp /guest.sh /new/ullage-guest.sh
if [ -e /user-scope.sh ]; then
	$B cp /user-scope.sh /new/ullage-user-scope.sh
	exec $B switch_root /new /bin/sh /ullage-user-scope.sh
fi
exec $B chroot /new /bin/sh /ullage-guest.sh
INIT
chmod +x "$work/image/init"

# What runs inside. It may not be on the 9p root, so it comes with the image.
quoted=""
for word in "$@"; do quoted="$quoted '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"; done
in_scope=""
[ "$scope" = no ] || in_scope="systemd-run --user --scope --quiet -p Delegate=yes --"
cat >"$work/image/guest.sh" <<GUEST
export PATH="$(dirname "$python"):/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" HOME=/mnt LANG=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH='$root/src' HYPOTHESIS_STORAGE_DIRECTORY=/mnt/hypothesis
cd '$root'
echo "guest: Linux \$(uname -r), uid \$(id -u), cgroup v2, \$(cat /sys/fs/cgroup/cgroup.controllers)"
$in_scope '$python' -m pytest -p no:xdist --basetemp=/mnt/tests --color=no --timeout=900 -m 'not beam' $quoted
echo "guest-exit: \$?"
GUEST
if [ "$scope" = no ]; then
	cat >>"$work/image/guest.sh" <<'GUEST'
sync
echo o >/proc/sysrq-trigger  # off, now
while :; do :; done
GUEST
else
	sed "s|@PYTHON@|$(readlink -f "$python")|" "$root/tests/qemu/user-scope.sh" >"$work/image/user-scope.sh"
fi
(cd "$work/image" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/image.gz"

timeout "${QEMU_PATIENCE_S:-1500}" qemu-system-x86_64 \
	-machine q35 -accel tcg -cpu max -smp 2 -m "${QEMU_MEMORY:-2048}" -nographic -no-reboot -nic none \
	-kernel "/boot/vmlinuz-$version" -initrd "$work/image.gz" \
	-append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all" \
	-drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	</dev/null | sed -u 's/\r//g' | tee "$work/log" | grep --line-buffered -v '^$' || true
code=$(sed -n 's/^guest-exit: //p' "$work/log")
[ -n "$code" ] || fail "the guest ended without a result (see above)"
exit "$code"
