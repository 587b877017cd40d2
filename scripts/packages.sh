# The packages that the scripts beside this one need; sourced by them.
# shellcheck shell=bash disable=SC2034
build_packages=(g++ cmake ninja-build libboost-program-options-dev libfmt-dev libaio-dev libblkid-dev liburing-dev
  libisal-dev libroaring-dev libexpat1-dev zlib1g-dev nlohmann-json3-dev nbdkit-plugin-dev pkg-config)
quickstart_packages=(nbdkit libnbd-bin fio)
# Releases of clang-format differ in what they make of the same file: one that all Debians have.
# The sanitizers are clang's, which builds with them in half the time that g++ takes.
test_packages=(git libgtest-dev libgmock-dev python3 libxml2-utils mandoc clang-format-19 clang-19 lld-19
  libclang-rt-19-dev thin-provisioning-tools nbdkit libnbd-bin openssl qemu-utils fio)
kernel_packages=(qemu-system-x86 busybox-static cpio kmod dmsetup e2fsprogs xz-utils zstd python3)
bench_packages=(thin-provisioning-tools python3 time valgrind nbdkit fio)
lint_packages=(clang-tidy-19)
packaging_packages=(build-essential debhelper dpkg-dev fakeroot lintian)
