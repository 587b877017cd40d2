# What a guest does with a disk that has an ext4, as a part of its script. Each file is noise of its
# own, so that no two have the same checksum.
# shellcheck shell=dash

mount_disk() { # mount_disk DISK
  mkdir -p /disk && mount -t ext4 -o discard "/dev/$1" /disk
}

drop_caches() { sync && echo 3 > /proc/sys/vm/drop_caches; }

write_files() { # write_files FOLDER COUNT KIB
  mkdir "/disk/$1"
  for number in $(seq "$2"); do
    head -c "$3k" /dev/urandom > "/disk/$1/$number" || return 1
  done
}

remove_most() { # remove_most FOLDER: of five files four, each after "leaving FOLDER/NAME"
  for file in "/disk/$1"/*; do
    number=${file##*/}
    [ $((number % 5)) != 0 ] || continue
    echo "leaving $1/$number"
    rm "$file"
  done
}

say_files() { # say_files FOLDER...: "FOLDER/NAME CHECKSUM" of each
  for folder in "$@"; do
    for file in "/disk/$folder"/*; do
      echo "$folder/${file##*/} $(sha256sum < "$file" | cut -d ' ' -f 1)"
    done
  done
}

# One file after another is made durable, and then told: "durable FOLDER/NAME CHECKSUM". Before one
# of four is written anew, in place or as another file, "leaving FOLDER/NAME" takes that back.
write_durably() { # write_durably FOLDER: until that fails
  number=0
  while true; do
    number=$((number + 1)) name=$1/$number
    head -c $((1 + number % 8 * 14999)) /dev/urandom > "/run/$1"
    sum=$(sha256sum < "/run/$1" | cut -d ' ' -f 1)
    if [ $((number % 4)) = 0 ]; then
      name=$1/$((number - 3))
      echo "leaving $name"
      [ $((number % 8)) = 0 ] || rm "/disk/$name"
    fi
    dd if="/run/$1" of="/disk/$name" bs=64k conv=fsync 2> /dev/null || return
    echo "durable $name $sum"
  done
}

say_events() { # what the kernel had to say of the file system
  dmesg | sed -n 's/.*EXT4-fs /said /p'
}
