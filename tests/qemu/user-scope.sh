#!/bin/sh
# In the guest, as its first process: an ordinary user, then systemd with nothing but that user's
# manager and one service, which runs the tests as that user. See run.sh.
set -eu

echo 'tester:x:4711:4711::/mnt:/bin/sh' >>/etc/passwd
echo 'tester:x:4711:' >>/etc/group
echo 'tester:*:19000:0:99999:7:::' >>/etc/shadow
chown 4711:4711 /mnt
# The user must be able to reach the interpreter, wherever it lies.
folder=$(dirname "@PYTHON@")
while [ "$folder" != / ]; do chmod a+x "$folder"; folder=$(dirname "$folder"); done
rm -f /etc/machine-id && echo 0123456789abcdef0123456789abcdef >/etc/machine-id

# Before version 253 systemd ends the user's whole manager, and the tests with it, when the kernel
# kills one process anywhere below. Newer ones ship this setting.
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\nOOMPolicy=continue\n' >/etc/systemd/system/user@.service.d/oom.conf
cat >/etc/systemd/system/ullage-tests.service <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=user@4711.service
After=user@4711.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate
[Service]
Type=oneshot
User=tester
Environment=XDG_RUNTIME_DIR=/run/user/4711 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/4711/bus
ExecStart=/bin/sh /ullage-guest.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
UNIT
cat >/etc/systemd/system/ullage-tests.target <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=ullage-tests.service dbus.service systemd-logind.service
After=ullage-tests.service
AllowIsolate=yes
UNIT
# Nothing of this machine's own start: it is slow in here, and would look through all its folders.
for unit in systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-sysusers systemd-udevd \
	systemd-udev-trigger systemd-journal-flush systemd-random-seed systemd-remount-fs systemd-sysctl \
	systemd-hwdb-update systemd-modules-load systemd-update-utmp kmod-static-nodes keyboard-setup \
	console-setup apparmor networking ldconfig systemd-binfmt systemd-pstore; do
	ln -sf /dev/null "/etc/systemd/system/$unit.service"
done
exec /lib/systemd/systemd --unit=ullage-tests.target --show-status=no --log-target=console --log-level=notice
