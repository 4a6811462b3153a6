#!/bin/bash
# The first process of deb.sh's system: lays an overlay over this machine's files and becomes systemd in it, which runs
# deb_unit.sh. Its mounts end with its namespace. deb_boot.sh WORK SHARED
set -euo pipefail

work=$1 shared=$2
root=$work/root

# Only what a system needs to boot, none of it the machine's own.
make_devices() {
	local name
	mount -t tmpfs -o mode=755 dev "$root/dev"
	for name in null zero full random urandom tty; do
		touch "$root/dev/$name"
		mount --bind "/dev/$name" "$root/dev/$name"
	done
	mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
	mount -t tmpfs shm "$root/dev/shm"
	mount -t mqueue mqueue "$root/dev/mqueue"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
}

make_root() {
	mkdir "$work/layers" "$root"
	mount -t tmpfs -o mode=755 layers "$work/layers"
	mkdir "$work/layers/upper" "$work/layers/work"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layers/upper,workdir=$work/layers/work" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mkdir -p "$root/sys/fs/cgroup"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 run "$root/run"
	mount -t tmpfs tmp "$root/tmp"
	mount --bind "$shared" "$root/mnt"
	make_devices
	# It would keep maintainer scripts from starting services.
	rm -f "$root/usr/sbin/policy-rc.d"
}

write_unit() {
	mkdir -p "$root/run/systemd/system"
	cat >"$root/run/systemd/system/deb-test.service" <<-'UNIT'
		[Service]
		Type=oneshot
		StandardOutput=append:/mnt/log
		StandardError=append:/mnt/log
		Environment=DEBIAN_FRONTEND=noninteractive HOME=/root
		ExecStart=/bin/bash /mnt/deb_unit.sh
	UNIT
}

ip link set lo up
make_root
write_unit
exec chroot "$root" env container=test /lib/systemd/systemd --unit=deb-test.service --log-target=console
