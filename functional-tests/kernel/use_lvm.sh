# What a guest does with LVM, as a part of its script: each cache is a volume group with the name of
# the case, which has the volume "data" on a slow disk and "fast" on a fast one.
# shellcheck shell=dash

# LVM is as it comes, but for what a machine without udev, its daemons and a terminal needs.
# Whatever it calls says so: "called COMMAND OPERANDS: EXIT STATUS".
prepare_lvm() {
  mkdir -p /etc/lvm /run/lvm /run/lock/lvm /usr/sbin
  cat > /etc/lvm/lvm.conf <<END
devices { obtain_device_list_from_udev = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
backup { backup = 0 archive = 0 }
global { use_lvmpolld = 0 }
END
  for command in cache_check cache_repair cache_dump cache_restore; do
    cat > "/usr/sbin/$command" <<END
#!/bin/sh
/sbin/$command "\$@"
status=\$?
echo "called $command \$*: \$status" > /dev/console
exit \$status
END
    chmod +x "/usr/sbin/$command"
  done
}

# A cache that is full, and clean until it is used: what is dirty then stays so, with a threshold of
# 0, and the origin has older data there.
make_cache() { # make_cache CASE SLOW FAST MODEL pool|vol USE
  use="exerciser device=/dev/$1/data model=/dev/$4"
  lvm vgcreate -q -s 1m "$1" "/dev/$2" "/dev/$3" || return 1
  lvm lvcreate -q -y -n data -L 24m "$1" "/dev/$2" || return 1
  if [ "$5" = pool ]; then
    lvm lvcreate -q -y --type cache-pool --chunksize 32k --poolmetadatasize 5m -L 20m -n fast "$1" \
      "/dev/$3" || return 1
  else
    lvm lvcreate -q -y -L 28m -n fast "$1" "/dev/$3" || return 1
  fi
  lvm lvconvert -q -y --type cache "--cache$5" "$1/fast" --chunksize 32k --cachemode writeback \
    "$1/data" || return 1
  $use fill && write_all_back "$1-data" && dmsetup message "$1-data" 0 migration_threshold 0 &&
    $use "$6" flush
}

say_places() { # say_places CASE: of its volumes, and of a cache volume's parts
  lvm lvs -a --noheadings -o lv_name,devices "$1" | sed 's/^ */volume /'
  dmsetup table | sed -n "s/^$1-fast_cvol-\(c[a-z]*\): /part \1 /p"
}
