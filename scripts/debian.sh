# Debians of their own, in folders to change into; sourced by the scripts beside this one that need
# them, as root, in the repository.
# shellcheck shell=bash

folder=${DMCACHE_CHROOTS-$PWD/build/debian}

inside() { # inside ROOT COMMAND...: with the devices and processes that package scripts want
  local root=$1
  shift
  unshare --mount --propagation private bash -euc '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount -t sysfs sys "$root/sys"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb DEBIAN_FRONTEND=noninteractive \
      PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' inside "$root" "$@"
}

make_debian() { # make_debian NAME RELEASE PACKAGE...: unless it is there
  local root=$folder/$1 included
  included=$(IFS=, && echo "${*:3}")
  if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    mkdir -p "$folder"
    debootstrap --variant=minbase ${included:+"--include=$included"} "$2" "$root" > /dev/null
    touch "$root/made"
  fi
}

make_packages() { # make_packages RELEASE: of this tree, in the folder src/packages of that Debian
  local root=$folder/$1 packages
  packages=$(. scripts/packages.sh && echo "${build_packages[*]} ${packaging_packages[*]} python3")
  make_debian "$1" "$1"
  rm -rf "$root/src"
  mkdir -p "$root/src/dmcache"
  tar --exclude=./build --exclude=./.git -c . | tar -x -C "$root/src/dmcache"
  # shellcheck disable=SC2086
  inside "$root" /src/dmcache/scripts/install-packages $packages
  inside "$root" /src/dmcache/scripts/package /src/packages
}
