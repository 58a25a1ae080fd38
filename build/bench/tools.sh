#!/bin/sh
# tools.sh: installs what the measurements need: the other installers, and what
# builds firmware, serves files and makes slots. As root on Debian it uses apt;
# else it says what is missing.
set -eu

# program:package, or file:package
tools="swupdate:swupdate rauc:rauc mender:mender-client mender-artifact:mender-artifact zck:zchunk zck_read_header:zchunk casync:casync
nginx:nginx-light mosquitto:mosquitto dbus-daemon:dbus openssl:openssl cpio:cpio curl:curl zstd:zstd gzip:gzip
mksquashfs:squashfs-tools mkfs.ext4:e2fsprogs debootstrap:debootstrap losetup:mount mkenvimage:u-boot-tools fw_setenv:libubootenv-tool
python3:python3-minimal"

PATH=$PATH:/usr/sbin:/sbin
missing=
for tool in $tools; do
	command -v "${tool%%:*}" >/dev/null || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "bench: please install:$missing" >&2
		exit 1
	fi
	apt-get -qq -o DPkg::Lock::Timeout=120 update >&2
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing >&2
fi
