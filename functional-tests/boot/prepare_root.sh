#!/bin/sh
# Makes the Debian that it runs in one that boots from a cached volume, with a shell at the serial
# line. In its initial file system each call of cache_check and cache_repair is told to the kernel's
# log, and the kernel's parameter wait_for_root says for how many seconds a slow guest waits at most.
set -e

echo guest > /etc/hostname
echo "/dev/mapper/vg-root / ext4 errors=remount-ro 0 1" > /etc/fstab
mkdir -p "/etc/systemd/system/serial-getty@ttyS0.service.d"
cat > "/etc/systemd/system/serial-getty@ttyS0.service.d/override.conf" << END
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear %I dumb
END
# It boots sooner without these.
systemctl mask systemd-firstboot.service e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer
mkdir -p /etc/systemd/journald.conf.d /etc/systemd/logind.conf.d
printf '[Journal]\nStorage=volatile\n' > /etc/systemd/journald.conf.d/volatile.conf
printf '[Login]\nNAutoVTs=0\nReserveVT=0\n' > /etc/systemd/logind.conf.d/serial.conf

cat > /etc/initramfs-tools/hooks/tell-calls << 'END'
#!/bin/sh
[ "$1" != prereqs ] || { echo dmcache; exit 0; }
mkdir -p "$DESTDIR/usr/lib/called"
for command in cache_check cache_repair; do
	[ "$(readlink "$DESTDIR/usr/sbin/$command")" = /usr/sbin/dmcache ] || exit 1
	mv "$DESTDIR/usr/sbin/$command" "$DESTDIR/usr/lib/called/$command"
	cat > "$DESTDIR/usr/sbin/$command" << WRAPPER
#!/bin/sh
/usr/lib/called/$command "\$@"
status=\$?
echo "called $command \$*: \$status" > /dev/kmsg
exit \$status
WRAPPER
	chmod 755 "$DESTDIR/usr/sbin/$command"
done
END
chmod 755 /etc/initramfs-tools/hooks/tell-calls

# The kernel's parameter rootdelay would do it as well, but sleeps as long before the first look.
cat > /etc/initramfs-tools/scripts/init-premount/wait-for-root << 'END'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
for word in $(cat /proc/cmdline); do
	case $word in
	wait_for_root=*) echo "ROOTDELAY=${word#*=}" >> /conf/param.conf ;;
	esac
done
END
chmod 755 /etc/initramfs-tools/scripts/init-premount/wait-for-root
update-initramfs -u
