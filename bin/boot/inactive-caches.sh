#!/bin/sh
# Where a boot ends at the prompt of the initial file system since the root doesn't appear, because of
# its cache: udev called LVM, and showed nothing of what it said, so this is all that a user sees about
# it. initramfs-tools runs this; dracut sources it, so it sets no variable that would stay.
case $1 in
prereqs) exit 0 ;; # Nothing has to come before it in initramfs-tools.
esac

lvm lvs --noheadings -o vg_name,lv_name,pool_lv -S 'segtype = cache && lv_active != active' 2> /dev/null |
while read -r group volume pool; do
	echo "$group/$volume is cached, and LVM has not activated it. This says why:"
	echo "  lvm lvchange -ay $group/$volume"
	echo "If it says that repair is required, the cache's metadata are damaged."
	case $pool in
	*_cvol*) echo "LVM repairs no cache volume: see \"man dmcache\", on another system." ;;
	*)
		echo "This repairs them, unless it would lose data, which it reports then:"
		echo "  lvm lvconvert --repair $group/$volume"
		;;
	esac
	echo "Once the volume is active, \"exit\" goes on with the boot."
done
