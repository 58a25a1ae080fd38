#!/bin/sh
# Installs the programs that the tests compare otad with. As root on Debian it
# uses apt; else it says what is missing.
set -eu

# program:package, or file:package
tools="mosquitto:mosquitto mosquitto_sub:mosquitto-clients cpio:cpio openssl:openssl zstd:zstd
swupdate:swupdate zck:zchunk xz:xz-utils lz4:lz4
fw_printenv:libubootenv-tool mkenvimage:u-boot-tools mkfs.ext4:e2fsprogs debugfs:e2fsprogs unsquashfs:squashfs-tools gcc:gcc sb:lrzsz picocom:picocom socat:socat chromium:chromium
nats-server:nats-server qemu-arm-static:qemu-user-static debootstrap:debootstrap dpkg-deb:dpkg shellcheck:shellcheck
qemu-system-aarch64:qemu-system-arm /usr/lib/u-boot/qemu_arm64/u-boot.bin:u-boot-qemu mkimage:u-boot-tools
qemu-system-x86_64:qemu-system-x86 grub-mkimage:grub-common /usr/lib/grub/i386-pc/boot.img:grub-pc-bin
sgdisk:gdisk mkfs.vfat:dosfstools mcopy:mtools depmod:kmod"

PATH=$PATH:/usr/sbin:/sbin
missing=
for tool in $tools; do
	command -v "${tool%%:*}" >/dev/null || [ -e "${tool%%:*}" ] || missing="$missing ${tool##*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "install-test-tools: please install:$missing" >&2
	exit 1
fi
# A lock held by the machine's own updates is waited for.
apt-get -qq -o DPkg::Lock::Timeout=120 update >&2
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing >&2
